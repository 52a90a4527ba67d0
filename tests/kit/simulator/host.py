"""Where a process runs: its connections, its steps, and how it ends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from kmworker.bus.amqp.link import OnDelivery
from kmworker.settings import BrokerSettings
from tests.kit.simulator.broker import Broker
from tests.kit.simulator.connection import SimulatedConnection
from tests.kit.simulator.steps import Fault, Steps
from tests.kit.simulator.troubles import Links, Troubles

ROLES: Final = {
    Links.CONSUMER: "consumer", Links.PUBLISHER: "publisher", Links.AUDIT: "audit",
    Links.ENDS: "ends",
}  # fmt: skip


class Host:
    """One process's end of the network.

    Attributes:
        steps: its I/O steps.
        clock: what time it is there, as far as durations go.
        when_idle: called with seconds when the consumer would wait for events.
        forget_scripts: what a restart of the store does to it.
        strike_store: lets something go wrong with this process's connection to the store.
    """

    def __init__(
        self,
        broker: Broker,
        troubles: Troubles | None = None,
        faults: Mapping[int, Fault] | None = None,
    ) -> None:
        troubles = troubles or Troubles()
        self.steps = Steps(troubles.life, faults)
        self.steps.on_crash = self.crashed
        self.steps.strike = self.strike
        self.steps.wires = self._wires
        self.when_idle: Callable[[float], None] = broker.clock.advance
        self.forget_scripts: Callable[[], None] = lambda: None
        self.strike_store: Callable[[Fault], None] = lambda _fault: None
        self.clock = broker.clock
        self._broker = broker
        self._troubles = troubles
        self._connections: dict[Links, SimulatedConnection] = {}

    def connect(
        self, _settings: BrokerSettings, name: str, on_delivery: OnDelivery | None
    ) -> SimulatedConnection:
        """Connect to the broker; what `kmworker.bus.amqp.link.Connect` is."""
        link = Links.ENDS if name.endswith("revocations") else Links.CONSUMER
        if on_delivery is None:
            link = Links.AUDIT if name.endswith("audit") else Links.PUBLISHER
        self._troubles.reach(f"{ROLES[link]}.connect")
        with self.steps.step(f"{ROLES[link]}.connect", _refuse):
            connection = SimulatedConnection(self._broker, self.steps, ROLES[link], on_delivery)
        if on_delivery is not None:
            connection.when_idle = self._wait
        self._connections[link] = connection
        return connection

    def wait_for_any(self, connections: Sequence[SimulatedConnection], seconds: float) -> None:
        """Wait until one of them has something to read; what `RabbitBus` waits with."""
        self._broker.run(patience=False)
        if not any(connection.is_readable for connection in connections):
            self.steps.between("wait")
            self._broker.clock.advance(seconds)
            self._broker.run(patience=False)

    def cut(self, links: Links = Links.ALL, *, arrives: bool = True) -> None:
        """Break connections; the process finds out when it next uses them."""
        for link, connection in self._connections.items():
            if link in links:
                self._broker.end(connection.session, arrives=arrives)

    def crashed(self, fault: Fault) -> None:
        """Let go of everything, as the kernel does for a process that is gone."""
        self.cut(Links.CONSUMER | Links.ENDS, arrives=fault is not Fault.CRASH_BEFORE)
        self.cut(Links.PUBLISHER | Links.AUDIT, arrives=fault is Fault.CRASH_AFTER)

    def has_at_hand(self, name: str) -> bool:
        """Return whether a queue has something that is for this process to answer, or may be."""
        queue = self._broker.queues[name]
        mine = [it.session for it in self._connections.values() if it.session.is_up]
        return (
            bool(queue.ready)
            or any(it.stalled_at is not None for it in mine)
            or any(
                channel.unacknowledged
                for it in mine
                for channel in it.channels.values()
                if channel.queue is queue
            )
        )

    def hold(self, held: bool = True) -> None:
        """Let the broker hand out nothing to this process for a while."""
        self._connections[Links.CONSUMER].session.is_held = held

    def strike(self, fault: Fault, name: str) -> None:
        """Let something go wrong that is nobody's end by itself."""
        session = self._of_step(name)
        if fault is Fault.BROKER_RESTART:
            self._broker.restart()
        elif fault is Fault.STORE_RESTART:
            self.forget_scripts()
        elif fault in {Fault.STORE_REFUSES, Fault.STORE_DEMOTED}:
            self.strike_store(fault)
        elif fault is Fault.NACK:
            self._broker.refuse_next()
        elif fault is Fault.ALARM:
            self._broker.raise_alarm()
        elif fault is Fault.CANCEL:
            self._broker.cancel_consumers()
        elif session is not None and fault is Fault.SILENCE:
            session.session.is_silent = True
        elif session is not None and fault is Fault.STALL:
            session.session.stalled_at = self._broker.clock.monotonic()

    def _wait(self, seconds: float) -> None:
        self.when_idle(seconds)

    def _of_step(self, name: str) -> SimulatedConnection | None:
        role, _dot, _what = name.partition(".")
        return next((it for link, it in self._connections.items() if ROLES[link] == role), None)

    def _wires(self) -> tuple[bool, bool]:
        written = {link for link, it in self._connections.items() if it.session.inbox}
        return bool(written), Links.CONSUMER in written and len(written) > 1


def _refuse(_arrives: bool) -> NoReturn:
    raise ConnectionRefusedError("connection refused")
