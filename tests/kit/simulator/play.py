"""One run: a history, the faults that strike in it, and the way to rest.

A process that ends is followed by another, as a supervisor has it. Rest is when turns and
sweeps go by and no process does anything. Then every promise is checked.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kmworker.errors import SetupError
from tests.kit.simulator.baton import Baton, Schedule
from tests.kit.simulator.checks import check_at_rest
from tests.kit.simulator.events import Sent
from tests.kit.simulator.histories import History
from tests.kit.simulator.installation import Installation, Process
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.manner import AwkwardManner, LateManner
from tests.kit.simulator.steps import Crash, Fault, Step

MAX_LIVES: Final = 60
MAX_SWEEPS: Final = 60
MAX_TURNS: Final = 300
# Longer than two troubles after each other that only time shows.
FULL_SWEEPS: Final = 20
Faults = Mapping[int, Fault]
"""By the number of the step that they strike at, in one process's life."""


class Place:
    """Where a supervisor keeps one worker running: one process after the other.

    Args:
        site: the installation that they work in.
        faults: of each process in turn; whoever comes later has none.

    Attributes:
        lives: the processes so far.
        opened: how many steps the first took before there was anything to do.
        between: called before each of their steps.
    """

    def __init__(self, site: Installation, faults: Sequence[Faults] = ()) -> None:
        self.site = site
        self.lives: list[Process] = []
        self.opened = 0
        self.between: Callable[[str], None] = lambda _name: None
        self.refusal: SetupError | None = None
        """Why a worker does not use the store, where none may."""
        self._faults = faults

    @property
    def steps(self) -> list[list[Step]]:
        """Return the steps of each process."""
        return [process.host.steps.taken for process in self.lives]

    @property
    def activity(self) -> int:
        """Return a number that stands still while there is nothing to do."""
        busy = sum(process.host.steps.busy for process in self.lives)
        failures = sum(process.tally.totals["failures"] for process in self.lives)
        return busy + failures + len(self.lives)

    def turn(self) -> None:
        """Let the process go once around its loop; start another if it ends."""
        if self.refusal is not None:
            return
        process = self.lives[-1] if self.lives else self._start()
        try:
            process.turn()
        except Crash:
            self.hand_over()
        except SetupError as refusal:
            if not self.site.must_be_refused:
                raise
            process.die()
            self.refusal = refusal

    def hand_over(self) -> None:
        """End the process, and let another go on."""
        self.lives[-1].die()
        self._start()

    def turn_until_quiet(self) -> None:
        """Take turns until one goes by without anything to do."""
        before = -1
        for _ in range(MAX_TURNS):
            if before == self.activity:
                return
            before = self.activity
            self.turn()
        self.site.ledger.violated(Invariant.AT_REST, f"not after {MAX_TURNS} turns")
        self.site.ledger.raise_violation()

    def _start(self) -> Process:
        number = len(self.lives)
        if number >= MAX_LIVES:
            self.site.ledger.violated(Invariant.AT_REST, f"{number} processes were not enough")
            self.site.ledger.raise_violation()
        faults = self._faults[number] if number < len(self._faults) else {}
        self.lives.append(self.site.process(faults=faults))
        self.lives[-1].host.steps.between = self._between
        return self.lives[-1]

    def _between(self, name: str) -> None:
        self.between(name)


def play(history: History, faults: Sequence[Faults] = (), *, seed: int | None = None) -> Place:
    """Play a history to its end and check it.

    Args:
        history: what is published.
        faults: of each process in turn.
        seed: what the broker's manner of confirming is drawn from, and where it puts what
            comes back; None: it confirms late, and puts it where it was.

    Raises:
        Violation: a promise was broken.
    """
    site = _site(history, seed)
    place = Place(site, faults)

    def go_on(go: Sequence[Sent]) -> None:
        site.publish(*go)
        rest(site, place)

    _through(history, site, go_on, place)
    return place


def race(
    history: History, schedule: Schedule, faults: Sequence[Faults] = (), *, seed: int | None = None
) -> tuple[Place, Place]:
    """Play a history with two workers, each of which gets every event.

    Args:
        history: what is published, each event twice.
        schedule: whose turn it is before each step.
        faults: of the first worker's processes.
        seed: see `play`.

    Raises:
        Violation: a promise was broken.
    """
    site = _site(history, seed)
    first, second = Place(site, faults), Place(site)
    for place in (first, second):
        place.turn_until_quiet()
        place.opened = len(place.steps[0])

    def go_on(go: Sequence[Sent]) -> None:
        # The broker hands them out in turn, so each worker gets one of each.
        site.publish(*(event for event in go for _ in range(2)))
        baton = Baton(schedule)
        baton.run(first, second)
        rest(site, first, second)

    _through(history, site, go_on, first, second)
    return first, second


def rest(site: Installation, *places: Place) -> None:
    """Let all of them work, and time pass, until nothing is left to do."""
    _turn_all(places)
    if site.broker.dead.is_full:
        # What finds no room is tried again for as long as that is so.
        for _ in range(FULL_SWEEPS):
            if not _unanswered(site):
                return
            site.let_pass(site.limits.sweep_s)
            _turn_all(places)
        return
    for _ in range(MAX_SWEEPS):
        before = [place.activity for place in places]
        site.let_pass(site.limits.sweep_s)
        _turn_all(places)
        is_quiet = [place.activity for place in places] == before
        # A confirm that does not come is waited for, and nothing else may be to do meanwhile.
        # A dead letter without room, too.
        is_waiting = any(
            it.is_at_work or it.holds_back for place in places for it in place.lives[-1:]
        )
        if is_quiet and not is_waiting and not site.broker.is_in_trouble:
            return
    site.ledger.violated(Invariant.AT_REST, f"not after {MAX_SWEEPS} sweeps")


def check(site: Installation, history: History, places: Sequence[Place]) -> None:
    """Check the promises, and that the history came to what it must come to."""
    if site.must_be_refused:
        for place in places:
            if place.refusal is None:
                site.ledger.violated(Invariant.EXPECTED, "a worker uses a store that lost records")
        site.ledger.raise_violation()
        return
    letters = {(letter.body, letter.headers["x-kmworker-reason"]) for letter in site.letters}
    end = Counter(reason for _body, reason in letters)
    for project in ("p1", "p2"):
        stats = site.redis.hgetall(site.names.of(project, "stats"))
        end.update({name.decode(): int(number) for name, number in stats.items()})
    del end["waiting"]
    if not any(end == Counter(may_be) for may_be in history.ends):
        site.ledger.violated(Invariant.EXPECTED, str(dict(end)))
    check_at_rest(site)


def _through(
    history: History,
    site: Installation,
    go_on: Callable[[Sequence[Sent]], None],
    *places: Place,
) -> None:
    site.broker.dead.limit = 0 if history.is_dead_full else None
    for number, go in enumerate(history.goes):
        for happening in history.before.get(number, ()):
            happening(site, places)
        go_on(go)
    if history.is_dead_full:
        for sent in _unanswered(site):
            site.ledger.violated(Invariant.GOES_ON, sent.event_id)
        site.broker.dead.limit = None
        rest(site, *places)
    check(site, history, places)


def _unanswered(site: Installation) -> list[Sent]:
    """Return the events that wait, or whose answers are not confirmed; not what nobody reads."""
    accepted = (sent for sent, _at in site.ledger.accepted.values())
    return [sent for sent in accepted if sent.is_event and not site.ledger.is_answered(sent)]


def _turn_all(places: Sequence[Place]) -> None:
    before: list[int] = []
    while before != (now := [place.activity for place in places]):
        before = now
        for place in places:
            place.turn_until_quiet()


def _site(history: History, seed: int | None) -> Installation:
    manner = LateManner() if seed is None else AwkwardManner(seed)
    at_front = seed is not None and bool(seed % 2)
    site = Installation(
        history.limits,
        policy=history.policy,
        manner=manner,
        requeue_at_front=at_front,
        reports=False,
    )
    site.clocks_ahead_s = history.clocks_ahead_s
    site.poison.update(history.poison)
    site.broker.abhors = history.abhors
    site.broker.work.delivery_limit = history.delivery_limit
    return site
