"""What py-amqp gives to `Link`, `RabbitBus` and `Publisher`, over the broker in memory.

Calls that py-amqp answers from the broker are one step; what it only writes goes onto the
wire and is read by the broker later, or never. As there, callbacks run while frames are
read, also those that come before the answer to a call.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, Final, NoReturn

from amqp.exceptions import ConnectionForced

from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import OnDelivery
from kmworker.domain.message import MAX_BODY_BYTES, Digest
from tests.kit.simulator.broker import Broker
from tests.kit.simulator.channel import SimulatedChannel
from tests.kit.simulator.steps import Steps
from tests.kit.simulator.wire import (
    Ack,
    Cancelled,
    Closed,
    Confirm,
    Deliver,
    Publish,
    Reject,
    Returned,
)

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
        # Where a call watches its deadline; heartbeats are no frames here.
        self.on_inbound_frame: Callable[[object], object] = lambda frame: frame
        self.when_idle: Callable[[float], None] = broker.clock.advance
        self.frame_max = 131_072
        self.server_properties = {"product": "RabbitMQ", "version": "3.10.8"}
        self.transport = SimpleNamespace(sock=SimpleNamespace(settimeout=lambda _seconds: None))
        self.broker = broker
        self._steps = steps
        self._role = role
        self._on_delivery = on_delivery
        self._channels: dict[int, SimulatedChannel] = {}

    # --- what py-amqp's connections do --------------------------------------------

    def channel(self) -> SimulatedChannel:
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

    def drain_arrived(self, timeout: float) -> None:
        """Handle every frame that has arrived."""
        self.drain_events(timeout)
        while self._is_readable():
            self._handle(self.session.outbox.popleft())

    def corked(self) -> AbstractContextManager[None]:
        """Write as ever: what is sent in one piece can be torn anywhere, too."""
        return nullcontext()

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

    @property
    def is_readable(self) -> bool:
        """Return whether there is something to read, if the end of the connection is all."""
        return self._is_readable() or not self.session.is_up

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
                body, dropped = message.body, None
                if len(body) > MAX_BODY_BYTES:
                    body, dropped = b"", Digest(sha256(body).hexdigest(), len(body))
                self._on_delivery(
                    RawDelivery(
                        tag,
                        message.delivery_count > 0,
                        message.routing_key,
                        message.delivered_properties(),
                        body,
                        dropped,
                        message.delivery_count,
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
