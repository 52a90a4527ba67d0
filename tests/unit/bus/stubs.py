"""A connection to a broker that does as it is told: what py-amqp would call, and when."""

from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from amqp import Message

from kmworker.bus.amqp.link import Link
from kmworker.domain.message import Outgoing
from kmworker.settings import BrokerSettings

SETTINGS = BrokerSettings(url="amqp://127.0.0.1:1//")


def message(name: str = "m", key: str = "key", **properties: Any) -> Outgoing:
    """A message to publish; its id is its name."""
    return Outgoing("exchange", key, name.encode(), {"message_id": name, **properties})


class StubBroker:
    """Records what is published; answers from a script when it is waited for."""

    def __init__(self) -> None:
        self.published: list[bytes] = []
        self.script: deque[Callable[[], None]] = deque()
        self.events: dict[str, set[Callable[..., None]]] = defaultdict(set)
        self.confirming = False
        self.frame_max = 131_072
        self.ticks = 0
        self.on_inbound_frame: Callable[[Any], object] = lambda frame: frame

    # --- what the script may say --------------------------------------------------

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Let a confirm come next."""
        self.script.append(lambda: self._tell("basic_ack", tag, multiple))

    def nack(self, tag: int, *, multiple: bool = False) -> None:
        """Let a refusal come next."""
        self.script.append(lambda: self._tell("basic_nack", tag, multiple))

    def give_back(self, outgoing: Outgoing) -> None:
        """Let a message that no queue was bound for come back next."""
        returned = type("Returned", (), {"properties": dict(outgoing.properties)})
        arguments = (None, outgoing.exchange, outgoing.routing_key, returned)
        self.script.append(lambda: self._tell("basic_return", *arguments))

    def fail(self, error: Exception) -> None:
        """Let the connection fail next."""

        def raise_it() -> None:
            raise error

        self.script.append(raise_it)

    # --- what py-amqp calls -------------------------------------------------------

    def channel(self) -> "StubBroker":
        """Open a channel: there is one, and it is this."""
        self.events.clear()
        return self

    def confirm_select(self) -> None:
        """Switch confirms on."""
        self.confirming = True

    def send_method(self, _method: object, _format: str, _arguments: object, content: Any) -> None:
        """Take a message."""
        if not self.confirming:
            # What py-amqp says of a connection that is gone.
            raise AttributeError("'NoneType' object has no attribute 'frame_writer'")
        if isinstance(content, Message):
            content._serialize_properties()
        self.published.append(content.body)

    def corked(self) -> AbstractContextManager[None]:
        """Send at once, also what could wait."""
        return nullcontext()

    def drain_arrived(self, _timeout: float) -> None:
        """Let happen what comes next."""
        if not self.script:
            raise TimeoutError
        self.script.popleft()()

    def heartbeat_tick(self) -> None:
        """Be looked after."""
        self.ticks += 1

    def collect(self) -> None:
        """Be dropped."""
        self.confirming = False

    def _tell(self, event: str, *arguments: object) -> None:
        for callback in self.events[event]:
            callback(*arguments)


class StubLink(Link):
    """A real link, to a stub."""

    def __init__(self, broker: StubBroker) -> None:
        super().__init__(SETTINGS, "test", connect=lambda *_: broker)
        self.broker = broker
