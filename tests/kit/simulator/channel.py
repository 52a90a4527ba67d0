"""The calls that the worker makes on a channel, under py-amqp's names."""

from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, Protocol

from amqp import Message as Content
from amqp import spec
from amqp.exceptions import ConsumerCancelled, PreconditionFailed

from tests.kit.simulator.broker import Broker
from tests.kit.simulator.wire import (
    Ack,
    Confirm,
    Effect,
    Publish,
    Reject,
    ServerChannel,
)


class Wires(Protocol):
    """The connection that a channel is on."""

    broker: Broker

    def call(self, what: str, act: Callable[[], Any]) -> Any:
        """Ask the broker for something and wait for its answer."""
        ...

    def write(self, what: str, frame: Publish | Ack | Reject) -> None:
        """Put something onto the wire."""
        ...


class SimulatedChannel:
    """An open channel."""

    def __init__(self, connection: Wires, server: ServerChannel) -> None:
        self.events: defaultdict[str, set[Callable[..., None]]] = defaultdict(set)
        self._connection = connection
        self._broker = connection.broker
        self._server = server
        self._answer: Any = None
        self._on_cancel: Callable[[str], None] | None = None
        self._consumers: list[str] = []

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
        channels = self._server.session.channels
        self._connection.call("close channel", lambda: channels.pop(self._server.number, None))

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
        consumer_tag: str = "",
        on_cancel: Callable[[str], None] | None = None,
        arguments: object = None,
    ) -> None:
        """Start to consume."""
        if arguments:
            self._connection.call("consume in vain", self._refuse)
        self._on_cancel = on_cancel
        self._consumers.append(consumer_tag)
        self._connection.call("consume", lambda: self._broker.consume(self._server, queue))

    def basic_cancel(self, consumer_tag: str) -> None:
        """Consume no more; what was handed out stays so."""
        self._consumers.remove(consumer_tag)
        self._connection.call("cancel", lambda: self._broker.cancel(self._server))

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
        tag, message, left = found
        return SimpleNamespace(
            delivery_tag=tag, body=message.body, delivery_info={"message_count": left}
        )

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
        if isinstance(content, Content):
            content._serialize_properties()
        self._server.session.is_publishing = True
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
        for frame in confirm.frames:
            kind: Literal["confirmed", "refused"] = "confirmed" if confirm.stored else "refused"
            self._broker.happened(Effect(kind, frame.exchange, frame.body))
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
        for consumer in self._consumers:
            self._on_cancel(consumer)
