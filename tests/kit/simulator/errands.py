"""What is done beside the workers: a janitor's look, an operator's commands, a key server.

Each is a process of its own, with a clock of its own, that ends when it is done. It can be ended
at each of its requests to the store, and another then begins it anew, as a supervisor or a person
does. All of it is real, but for the client.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

from kmworker.bootstrap.assembly import assemble_janitor
from kmworker.cli.key.changing import KeyRoom, made
from kmworker.cli.key.compromising import _compromise
from kmworker.cli.key.destroying import _at_once
from kmworker.clock import StoreClock
from kmworker.crypto import KeyringCustody
from kmworker.domain.keks import KekStep
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import Step as KeyStep
from kmworker.domain.model import Item
from kmworker.errors import TransientError
from kmworker.janitor.loop import LEASE_S, JanitorLoop
from kmworker.store.admission import enter
from kmworker.store.inspection import Views
from kmworker.store.kek_register import KekRegister
from kmworker.store.key_states import KeyStates
from kmworker.store.records import RecordCodec
from kmworker.store.rewrapping import Rewrapping
from tests.kit.simulator.clock import Ahead
from tests.kit.simulator.host import Host
from tests.kit.simulator.installation import Installation
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.steps import Crash, Fault, Step, Steps
from tests.kit.simulator.store import SimulatedClient

__all__ = [
    "Doing", "Errand", "Hand", "compromises", "destroys_now", "looks", "rewraps", "steps_on",
    "turns_over", "until_it_is_done",
]  # fmt: skip

MAX_LIVES: Final = 20
MAX_TRIES: Final = 20
ALICE: Final = Operator("alice", "a drill")

Doing = Callable[["Hand"], object]
"""What is done, from its beginning to its end."""


@dataclass(frozen=True, slots=True)
class Hand:
    """A process beside the workers."""

    site: Installation
    name: str
    client: SimulatedClient
    clock: StoreClock
    host: Host
    """Its end of the network; most have nothing to do with the broker."""

    @property
    def steps(self) -> Steps:
        """Its I/O steps."""
        return self.host.steps

    @property
    def views(self) -> Views:
        """What it reads."""
        return Views(self.client, self.site.names)

    def custody(self) -> KeyringCustody:
        """Open the keyring for the store, as a command does."""
        custody = self.site.opened()
        enter(custody, self.views)
        return custody

    @property
    def room(self) -> KeyRoom:
        """Return what commands get to change keys with."""
        codec = RecordCodec(self.custody())
        return KeyRoom(self.site.settings, self.views, codec, KeyStates(self.views, codec))


class Errand:
    """Something that is done once, by one process after the other until one comes to its end.

    Args:
        site: the installation.
        doing: what is done.
        faults: of each process in turn; whoever comes later has none.

    Attributes:
        lives: the processes so far.
        opened: as a worker's place has it: nothing is to be left out.
        between: called before each of their steps.
    """

    def __init__(
        self, site: Installation, doing: Doing, faults: Sequence[Mapping[int, Fault]] = ()
    ) -> None:
        self.lives: list[Hand] = []
        self.opened = 0
        self.between: Callable[[str], None] = lambda _name: None
        self._site = site
        self._doing = doing
        self._faults = faults

    @property
    def steps(self) -> list[list[Step]]:
        """Return the steps of each process."""
        return [hand.steps.taken for hand in self.lives]

    def turn_until_quiet(self) -> None:
        """Do it, to its end."""
        for _ in range(MAX_LIVES):
            try:
                self._doing(self._begin())
            except Crash:
                # Its leases end before another can do its work.
                self._site.let_pass(LEASE_S + 1)
            else:
                return
        self._site.ledger.violated(Invariant.AT_REST, f"{MAX_LIVES} processes were not enough")

    def _begin(self) -> Hand:
        number = len(self.lives)
        faults = self._faults[number] if number < len(self._faults) else {}
        self.lives.append(_hand(self._site, faults))
        self.lives[-1].steps.between = self._between
        return self.lives[-1]

    def _between(self, name: str) -> None:
        self.between(name)


def _hand(site: Installation, faults: Mapping[int, Fault]) -> Hand:
    """Start a process that has access to the store."""
    number = next(site.hands)
    host = Host(site.broker, faults=faults)
    client = SimulatedClient(
        site.server, host.steps, site.ledger.on_store, role="beside", clock=site.clock
    )
    host.forget_scripts = site.forget_scripts
    host.strike_store = client.strike
    ahead_s = site.clocks_beside_ahead_s[number % len(site.clocks_beside_ahead_s)]
    return Hand(site, f"hand-{number}", client, StoreClock(Ahead(site.clock, ahead_s)), host)


def until_it_is_done(hand: Hand, act: Callable[[], Any]) -> Any:
    """Try until the store is there, as a janitor does and as a person is told to."""
    for _ in range(MAX_TRIES):
        try:
            return act()
        except TransientError:
            # What it had leased is free again by then.
            hand.site.let_pass(LEASE_S + 1)
            # A person begins anew, and a janitor connects anew where it may be another server.
            hand.client.drop_connections()
    raise AssertionError(f"{hand.name} is not done after {MAX_TRIES} tries")


def looks(hand: Hand) -> None:
    """Be a janitor who goes once over all that is due."""
    janitor = janitor_of(hand)
    until_it_is_done(hand, lambda: janitor.look(waits=True))


def janitor_of(hand: Hand) -> JanitorLoop:
    """Put a janitor together, as its program does."""
    site, settings = hand.site, hand.site.settings
    return assemble_janitor(
        settings, hand.views, site.opened(), hand.clock, janitor_id=hand.name,
        new_id=lambda: site.installation,
    )  # fmt: skip


def steps_on(item: Item, what: KeyStep, **times: float) -> Doing:
    """Be an operator who has something done to the key-id of an item."""

    def do(hand: Hand) -> None:
        key_id = _key_id(hand, item)
        until_it_is_done(hand, lambda: made(hand.room, item.project, key_id, what, ALICE, **times))

    return do


def destroys_now(item: Item) -> Doing:
    """Be an operator who has the key-id of an item destroyed at once."""

    def do(hand: Hand) -> None:
        key_id = _key_id(hand, item)
        # It tells a person that it counts again.
        with redirect_stderr(StringIO()):
            until_it_is_done(hand, lambda: _at_once(hand.room, item.project, key_id, ALICE))

    return do


def compromises(item: Item) -> Doing:
    """Be an operator who says that the DEK of an item may be known to others."""

    def do(hand: Hand) -> None:
        scope_id = _data(hand, item)["scope_id"]
        until_it_is_done(hand, lambda: _compromise(hand.room, item.project, scope_id, ALICE))

    return do


def rewraps(hand: Hand) -> None:
    """Be who has everything under the active KEK."""

    def do() -> None:
        run = Rewrapping(hand.views, hand.custody())
        for project in run.projects():
            list(run.rewrap(project))
        run.finish()

    until_it_is_done(hand, do)


def turns_over(hand: Hand) -> None:
    """Be a key operator who replaces the first KEK, to the end."""
    site = hand.site
    _step_kek(hand, site.next_kek, KekStep.ACTIVATE)
    for _ in range(MAX_TRIES):
        rewraps(hand)
        if until_it_is_done(hand, lambda: _is_over(hand, site.keyring.newest)):
            _step_kek(hand, site.keyring.newest, KekStep.RETIRE)
            return
    raise AssertionError(f"something comes under the old KEK again and again: {hand.name}")


def _step_kek(hand: Hand, kek_id: str, what: KekStep) -> None:
    """Make a step, unless one before us has made it."""
    until_it_is_done(
        hand, lambda: KekRegister(hand.views, hand.site.opened()).step(kek_id, what, ALICE)
    )


def _is_over(hand: Hand, kek_id: str) -> bool:
    run = Rewrapping(hand.views, hand.custody())
    projects = run.projects()
    if not all(run.is_fenced(project) for project in projects):
        return False
    return not any(page for project in projects for page in run.references(project, kek_id))


def _key_id(hand: Hand, item: Item) -> str:
    return str(_data(hand, item)["key_id"])


def _data(hand: Hand, item: Item) -> dict[str, Any]:
    record = hand.site.record(item)
    assert record is not None, f"{item.ref} has no record to find its key by"
    found: dict[str, Any] = record["data"]
    return found
