"""One run: a history, the faults that strike in it, and the way to rest.

A process that ends is followed by another, as a supervisor has it. Rest is when turns and
sweeps go by and no process does anything. Then every promise is checked.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.simulation.baton import Baton, Schedule
from tests.simulation.checks import check_at_rest
from tests.simulation.events import Sent
from tests.simulation.histories import History
from tests.simulation.installation import Installation, Process
from tests.simulation.invariants import Invariant
from tests.simulation.manner import AwkwardManner, LateManner
from tests.simulation.steps import Crash, Fault, Step

__all__ = ["Faults", "Place", "check", "is_idle", "play", "race"]

MOST_LIVES: Final = 60
MOST_SWEEPS: Final = 60
# What a process does that has nothing to do.
IDLE: Final = ("store.sscan", "store.set", "store.sweep", "reports.", "consumer.declare", "anchor:")


def is_idle(step: Step) -> bool:
    """Say whether a process takes such a step when it has nothing to do."""
    return step.name.startswith(IDLE)


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
        self._faults = faults

    @property
    def steps(self) -> list[list[Step]]:
        """Return the steps of each process."""
        return [process.host.steps.taken for process in self.lives]

    @property
    def activity(self) -> int:
        """Return a number that stands still while there is nothing to do."""
        busy = sum(1 for steps in self.steps for step in steps if not is_idle(step))
        failures = sum(process.tally.totals["failures"] for process in self.lives)
        return busy + failures + len(self.lives)

    def turn(self) -> None:
        """Let the process go once around its loop; start another if it ends."""
        process = self.lives[-1] if self.lives else self._start()
        try:
            process.turn()
        except Crash:
            process.die()
            self._start()

    def turn_until_quiet(self) -> None:
        """Take turns until one goes by without anything to do."""
        before = -1
        while before != self.activity:
            before = self.activity
            self.turn()

    def _start(self) -> Process:
        number = len(self.lives)
        if number >= MOST_LIVES:
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

    _through(history, site, go_on)
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

    _through(history, site, go_on)
    return first, second


def rest(site: Installation, *places: Place) -> None:
    """Let all of them work, and time pass, until nothing is left to do."""
    _turn_all(places)
    for _ in range(MOST_SWEEPS):
        before = [place.activity for place in places]
        site.let_pass(site.limits.sweep_s)
        _turn_all(places)
        is_quiet = [place.activity for place in places] == before
        # A confirm that does not come is waited for, and nothing else may be to do meanwhile.
        is_waiting = any(place.lives[-1].is_at_work for place in places)
        if is_quiet and not is_waiting and not site.broker.is_in_trouble:
            return
    site.ledger.violated(Invariant.AT_REST, f"not after {MOST_SWEEPS} sweeps")


def check(site: Installation, history: History) -> None:
    """Check the promises, and that the history came to what it must come to."""
    letters = {(letter.body, _reason(letter.properties)) for letter in site.letters}
    end = Counter(reason for _body, reason in letters)
    for project in ("p1", "p2"):
        stats = site.redis.hgetall(site.names.of(project, "stats"))
        end.update({name.decode(): int(number) for name, number in stats.items()})
    del end["waiting"]
    if not any(end == Counter(may_be) for may_be in history.ends):
        site.ledger.violated(Invariant.EXPECTED, str(dict(end)))
    check_at_rest(site)


def _through(history: History, site: Installation, go_on: Callable[[Sequence[Sent]], None]) -> None:
    for number, go in enumerate(history.goes):
        if number == 1:
            for item in history.loses:
                site.lose_record(item)
            site.let_pass(history.waits_s)
        go_on(go)
    check(site, history)


def _turn_all(places: Sequence[Place]) -> None:
    before: list[int] = []
    while before != (now := [place.activity for place in places]):
        before = now
        for place in places:
            place.turn_until_quiet()


def _reason(properties: Mapping[str, Mapping[str, str]]) -> str:
    return properties["application_headers"]["x-kmworker-reason"]


def _site(history: History, seed: int | None) -> Installation:
    manner = LateManner() if seed is None else AwkwardManner(seed)
    at_front = seed is not None and bool(seed % 2)
    site = Installation(history.limits, manner=manner, requeue_at_front=at_front, reports=False)
    site.poison.update(history.poison)
    return site
