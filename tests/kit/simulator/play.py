"""One run: a history, the faults that strike in it, and the way to rest.

A process that ends is followed by another, as a supervisor has it. Rest is when turns and
sweeps go by and no process does anything. Then every promise is checked.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.kit.simulator.baton import Baton, Schedule
from tests.kit.simulator.checks import check_at_rest
from tests.kit.simulator.errands import Errand, looks
from tests.kit.simulator.events import Sent
from tests.kit.simulator.examining import examine, open_to_clients
from tests.kit.simulator.history import History
from tests.kit.simulator.installation import Installation
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.manner import AwkwardManner, LateManner
from tests.kit.simulator.place import Faults, Place

MAX_SWEEPS: Final = 60
# Longer than two troubles after each other that only time shows.
FULL_SWEEPS: Final = 20
DAYS_31_S: Final = 31 * 86_400.0
# A key that was restored for a month is deactivated, destroyed, and forgotten; and one to spare.
TIMES_TO_PASS: Final = 4
NO_ENDS: Final = frozenset(("waiting", "early", "released"))
# By the checker: what has been forgotten, and wraps by their KEK.
COUNTED_ELSEWHERE: Final = re.compile("[a-z]+_forgotten|wraps:.*").fullmatch


@dataclass(frozen=True, slots=True)
class Strikes:
    """What goes wrong: of each process in turn, by step."""

    work: Sequence[Faults] = ()
    """Of the worker, or of the first of two."""
    beside: Mapping[int, Sequence[Faults]] = field(default_factory=dict)
    """Of who does something beside the workers, by the number of the go."""


@dataclass(slots=True)
class Played:
    """Who took part in a run."""

    work: tuple[Place, ...]
    beside: dict[int, Errand] = field(default_factory=dict)
    """The first of each go."""


CALM: Final = Strikes()


def play(history: History, strikes: Strikes = CALM, *, seed: int | None = None) -> Played:
    """Play a history to its end and check it.

    Args:
        history: what is published.
        strikes: what goes wrong.
        seed: what the broker's manner of confirming is drawn from, and where it puts what
            comes back; None: it confirms late, and puts it where it was.

    Raises:
        Violation: a promise was broken.
    """
    site = _site(history, seed)
    played = Played((Place(site, strikes.work),))
    if history.asks:
        open_to_clients(site, *played.work)

    def go_on(number: int, go: Sequence[Sent]) -> None:
        _ask(site, history, number)
        site.publish(*go)
        rest(site, *played.work)
        for errand in _errands(history, site, played, strikes, number):
            errand.turn_until_quiet()
            rest(site, *played.work)
        _examine(site, history, number, *played.work)

    _through(history, site, go_on, *played.work)
    return played


def race(
    history: History, schedule: Schedule, strikes: Strikes = CALM, *, seed: int | None = None
) -> Played:
    """Play a history with two workers, each of which gets every event.

    Where something is done beside, it is that which races: two errands, or one and a worker.

    Args:
        history: what is published, each event twice.
        schedule: whose turn it is before each step.
        strikes: what goes wrong.
        seed: see `play`.

    Raises:
        Violation: a promise was broken.
    """
    if history.beside:
        return _race_beside(history, schedule, strikes, seed)
    site = _site(history, seed)
    first, second = Place(site, strikes.work), Place(site)
    for place in (first, second):
        place.turn_until_quiet()
        place.opened = len(place.steps[0])

    def go_on(_number: int, go: Sequence[Sent]) -> None:
        # The broker hands them out in turn, so each worker gets one of each.
        site.publish(*(event for event in go for _ in range(2)))
        baton = Baton(schedule)
        baton.run(first, second)
        rest(site, first, second)

    _through(history, site, go_on, first, second)
    return Played((first, second))


def _race_beside(
    history: History, schedule: Schedule, strikes: Strikes, seed: int | None
) -> Played:
    site = _site(history, seed)
    played = Played((Place(site, strikes.work),))
    (place,) = played.work
    open_to_clients(site, place)

    def go_on(number: int, go: Sequence[Sent]) -> None:
        _ask(site, history, number)
        site.publish(*go)
        errands = _errands(history, site, played, strikes, number)
        if errands:
            Baton(schedule).run(errands[0], errands[1] if len(errands) > 1 else place)
        rest(site, place)
        for errand in errands[2:]:
            errand.turn_until_quiet()
            rest(site, place)
        _examine(site, history, number, place)

    _through(history, site, go_on, place)
    return played


def _ask(site: Installation, history: History, number: int) -> None:
    for ask in history.asks.get(number, ()):
        site.clients.ask(ask)


def _examine(site: Installation, history: History, number: int, *places: Place) -> None:
    wanted = history.opens.get(number)
    if wanted is not None:
        examine(site, wanted)
        rest(site, *places)


def _errands(
    history: History, site: Installation, played: Played, strikes: Strikes, number: int
) -> list[Errand]:
    """Return what is done beside a go; the first is noted, and struck."""
    doings = history.beside.get(number, ())
    first = strikes.beside.get(number, ())
    errands = [Errand(site, it, () if at else first) for at, it in enumerate(doings)]
    if errands:
        played.beside[number] = errands[0]
    return errands


def end_of_time(site: Installation, *places: Place) -> None:
    """Let all times pass, and janitors do what is due: keys, scopes, then what is left of them."""
    for _ in range(TIMES_TO_PASS):
        site.let_pass(DAYS_31_S)
        rest(site, *places)
        Errand(site, looks).turn_until_quiet()
        rest(site, *places)
    site.is_tidied = True


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
    is_counted = False
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
        # Outboxes are looked at when a worker has nothing else to do.
        is_waiting |= bool(site.redis.exists(site.names.top("outboxes")))
        if is_quiet and not is_waiting and not site.broker.is_in_trouble:
            if is_counted or not site.ledger.chronicle.kept:
                return
            # What an index of outboxes lacks is found now and then.
            site.count_projects()
            is_counted = True
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
    for name in [it for it in end if it in NO_ENDS or COUNTED_ELSEWHERE(it)]:
        del end[name]
    if not any(end == Counter(may_be) for may_be in history.ends):
        site.ledger.violated(Invariant.EXPECTED, str(dict(end)))
    check_at_rest(site)


def _through(
    history: History,
    site: Installation,
    go_on: Callable[[int, Sequence[Sent]], None],
    *places: Place,
) -> None:
    site.broker.dead.limit = 0 if history.is_dead_full else None
    for number, go in enumerate(history.goes):
        for happening in history.before.get(number, ()):
            happening(site, places)
        go_on(number, go)
    if history.is_dead_full:
        for sent in _unanswered(site):
            site.ledger.violated(Invariant.GOES_ON, sent.event_id)
        site.broker.dead.limit = None
        rest(site, *places)
    check(site, history, places)
    if history.is_tidied:
        end_of_time(site, *places)
        check_at_rest(site)


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
