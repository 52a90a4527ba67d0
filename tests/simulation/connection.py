"""What py-amqp gives to `Link`, `RabbitBus` and `Publisher`, over the broker in memory.

Calls that py-amqp answers from the broker are one step; what it only writes goes onto the
wire and is read by the broker later, or never. As there, callbacks run while frames are
read, also those that come before the answer to a call.
"""

from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, NoReturn

from amqp import Message as Content
from amqp import spec
from amqp.exceptions import ConnectionForced, ConsumerCancelled, PreconditionFailed

from kmworker.bus.frames import RawDelivery
from kmworker.bus.link import OnDelivery
from tests.simulation.broker import Broker
from tests.simulation.steps import Steps
from tests.simulation.wire import (
    Ack,
    Cancelled,
    Closed,
    Confirm,
    Deliver,
    Effect,
    Publish,
    Reject,
    Returned,
    ServerChannel,
)

__all__ = ["SimulatedConnection"]

HEARTBEAT_S: Final = 15.0
SOCKET_TIMEOUT_S: Final = 30.0


class SimulatedConnection:
    """An open connection.

    Attributes:
        session: the broker's end of it.
        when_idle: called instead of waiting for so many seconds.
    """

    def __init__(
        self, broker: Broker, steps: Steps, role: str, on_delivery: OnDelivery | None
    ) -> None:
        self.session = broker.connect()
        self.when_idle: Callable[[float], None] = broker.clock.advance
        self.transport = SimpleNamespace(sock=SimpleNamespace(settimeout=lambda _seconds: None))
        self.broker = broker
        self._steps = steps
        self._role = role
        self._on_delivery = on_delivery
        self._channels: dict[int, SimulatedChannel] = {}

    # --- what py-amqp's connections do --------------------------------------------

    def channel(self) -> "SimulatedChannel":
        """Open a channel."""
        server = self.call("open channel", self.session.open_channel)
        self._channels[server.number] = SimulatedChannel(self, server)
        return self._channels[server.number]

    def drain_events(self, timeout: float | None = None) -> None:
        """Handle the next frame.

        Raises:
            TimeoutError: none came in time.
        """
        self._must_be_up()
        self.broker.run()
        if not self._is_readable() and timeout:
            self._wait(timeout)
        if not self._is_readable():
            raise TimeoutError
        with self._steps.step(f"{self._role}.read", self.cut):
            self._must_be_up()
            # What struck at this step may have taken it away.
            frames = [self.session.outbox.popleft()] if self._is_readable() else []
        for frame in frames:
            self._handle(frame)

    def heartbeat_tick(self) -> None:
        """Look for signs of life."""
        self._must_be_up()
        stalled_at = self.session.stalled_at
        if stalled_at is not None and self.broker.clock.monotonic() > stalled_at + 2 * HEARTBEAT_S:
            raise ConnectionForced("Too many heartbeats missed")

    def collect(self) -> None:
        """Close the socket. What was written before still arrives, unless nothing did."""
        self.broker.end(self.session, arrives=self.session.stalled_at is None)

    def close(self) -> None:
        """Say goodbye."""
        self.call("close", lambda: None)
        self.collect()

    # --- for the channels ---------------------------------------------------------

    def call(self, what: str, act: Callable[[], Any]) -> Any:
        """Ask the broker for something and wait for its answer."""
        with self._steps.step(f"{self._role}.{what}", self.cut):
            self._must_be_up()
            if self.session.stalled_at is not None:
                self.broker.clock.advance(SOCKET_TIMEOUT_S)
                raise TimeoutError("timed out")
            self.broker.run()
            answer = act()
            self.broker.run()
        while self.session.outbox:
            self._handle(self.session.outbox.popleft())
        return answer

    def write(self, what: str, frame: Publish | Ack | Reject) -> None:
        """Put something onto the wire."""
        with self._steps.step(f"{self._role}.{what}", self.cut):
            self._must_be_up()
            if self.session.stalled_at is None:
                self.session.inbox.append(frame)

    def cut(self, arrives: bool) -> NoReturn:
        """Break, as a network does."""
        self.broker.end(self.session, arrives=arrives)
        raise ConnectionResetError("connection reset by peer")

    # --- inside -------------------------------------------------------------------

    def _is_readable(self) -> bool:
        return bool(self.session.outbox) and self.session.stalled_at is None

    def _must_be_up(self) -> None:
        if not self.session.is_up:
            raise ConnectionResetError("connection reset by peer")

    def _wait(self, timeout: float) -> None:
        self.broker.run(patience=False)
        if not self._is_readable():
            self._steps.between("wait")
            self.when_idle(timeout)
            self._must_be_up()
            self.broker.run(patience=False)

    def _handle(self, frame: Deliver | Confirm | Returned | Cancelled | Closed) -> None:
        match frame:
            case Deliver(_channel, tag, message):
                assert self._on_delivery is not None
                self._on_delivery(
                    RawDelivery(
                        tag,
                        message.delivery_count > 0,
                        message.routing_key,
                        message.delivered_properties(),
                        message.body,
                    )
                )
            case Confirm():
                self._channels[frame.channel].confirmed(frame)
            case Returned(published):
                self._channels[published.channel].returned(published)
            case Cancelled(number):
                self._channels[number].cancelled()
            case Closed(_channel, error):
                raise error


class SimulatedChannel:
    """An open channel: the calls that the worker makes, under py-amqp's names."""

    def __init__(self, connection: SimulatedConnection, server: ServerChannel) -> None:
        self.events: defaultdict[str, set[Callable[..., None]]] = defaultdict(set)
        self._connection = connection
        self._broker = connection.broker
        self._server = server
        self._answer: Any = None
        self._on_cancel: Callable[[str], None] | None = None

    # --- names --------------------------------------------------------------------

    def exchange_declare(self, exchange: str, _type: str, *, passive: bool, **_kind: Any) -> None:
        """Declare an exchange."""
        declare = self._broker.declare_exchange
        self._connection.call("declare exchange", lambda: declare(exchange, passive=passive))

    def queue_declare(self, queue: str, *, passive: bool, **_kind: Any) -> tuple[str, int, int]:
        """Declare a queue."""
        declare = self._broker.declare_queue
        answer: tuple[str, int, int] = self._connection.call(
            "declare queue", lambda: declare(queue, passive=passive)
        )
        return answer

    def queue_bind(self, queue: str, exchange: str, pattern: str) -> None:
        """Bind a queue."""
        self._connection.call("bind", lambda: self._broker.bind(queue, exchange, pattern))

    def close(self) -> None:
        """Close the channel."""
        self._connection.call("close channel", lambda: None)

    # --- consuming ----------------------------------------------------------------

    def basic_qos(self, _size: int, prefetch: int, is_global: bool) -> None:
        """Set the prefetch limit of consumers to come."""
        assert not is_global, "quorum queues know no global prefetch"

        def act() -> None:
            self._server.prefetch = prefetch

        self._connection.call("qos", act)

    def basic_consume(
        self,
        queue: str,
        *,
        on_cancel: Callable[[str], None] | None = None,
        arguments: object = None,
    ) -> None:
        """Start to consume."""
        if arguments:
            self._connection.call("consume in vain", self._refuse)
        self._on_cancel = on_cancel
        self._connection.call("consume", lambda: self._broker.consume(self._server, queue))

    def basic_ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge."""
        unacknowledged = self._server.unacknowledged
        tags = [it for it in unacknowledged if it == tag or (multiple and it <= tag)]
        for it in tags:
            effect = Effect("settling", self._broker.topology.events, unacknowledged[it].body)
            self._broker.happened(effect)
        self._connection.write("ack", Ack(self._server.number, tag, multiple))

    def basic_get(self, queue: str) -> Any:
        """Get one message, if there is one."""
        found = self._connection.call("get", lambda: self._broker.get(self._server, queue))
        if found is None:
            return None
        tag, message = found
        return SimpleNamespace(delivery_tag=tag, body=message.body)

    def basic_reject(self, tag: int, *, requeue: bool) -> None:
        """Give a message back."""
        assert requeue
        self._connection.write("reject", Reject(self._server.number, tag))

    # --- publishing ---------------------------------------------------------------

    def confirm_select(self) -> None:
        """Ask for confirms."""
        self._connection.call("confirm", lambda: None)

    def send_method(
        self, method: tuple[int, int], _format: str, arguments: tuple[Any, ...], content: Any = None
    ) -> None:
        """Write a method: those that the worker writes itself."""
        if method == spec.Queue.Declare:
            self._answer = self.queue_declare(arguments[1], passive=arguments[2])
            return
        assert method == spec.Basic.Publish, f"not simulated: {method}"
        _ticket, exchange, routing_key, mandatory, _immediate = arguments
        if not mandatory:
            # Which is how `Inspection` asks for a right: the broker refuses that in any case.
            self._connection.call("publish in vain", self._refuse)
        # As py-amqp does; what cannot be encoded fails before anything is written.
        content._serialize_properties()
        self._connection.session.is_publishing = True
        body = content.body if isinstance(content.body, bytes) else content.body.encode()
        frame = Publish(self._server.number, exchange, routing_key, body, dict(content.properties))
        self._broker.happened(Effect("publishing", exchange, body))
        self._connection.write("publish", frame)

    def wait(self, _method: tuple[int, int], *, returns_tuple: bool) -> Any:
        """Return the answer to what was written before."""
        assert returns_tuple
        return self._answer

    def _refuse(self) -> None:
        raise PreconditionFailed("invalid argument")

    # --- what the broker says -----------------------------------------------------

    def confirmed(self, confirm: Confirm) -> None:
        """Tell of a confirm."""
        if confirm.stored:
            for frame in confirm.frames:
                self._broker.happened(Effect("confirmed", frame.exchange, frame.body))
        for callback in tuple(self.events["basic_ack" if confirm.stored else "basic_nack"]):
            callback(confirm.tag, confirm.multiple)

    def returned(self, frame: Publish) -> None:
        """Tell of an unrouted message."""
        content = Content(frame.body, **frame.properties)
        for callback in tuple(self.events["basic_return"]):
            callback(None, frame.exchange, frame.routing_key, content)

    def cancelled(self) -> None:
        """Tell the consumer that it gets no more."""
        if self._on_cancel is None:
            raise ConsumerCancelled("consumer")
        self._on_cancel("consumer")
