"""All the runs there are: which faults, at which steps, in which histories.

A crash before a step leaves what a crash after the step before it leaves, unless something
is on the wires; so it is played where it is another run. Start-up is the same in every
history, and so is what an idle worker does, and one process that dies of an event after
another: these are struck in one history, or in the first of them, unless everything is
asked for.

What is generated can be had in parts, for as many processes: the so manieth of so many.
"""

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final

import structlog

from tests.kit.simulator.baton import Drawn, Preempting, Schedule
from tests.kit.simulator.histories import HISTORIES
from tests.kit.simulator.place import Faults
from tests.kit.simulator.play import Played, Strikes, play, race
from tests.kit.simulator.steps import Fault, Step

IN_FULL: Final = ("create", "a key is asked for")
"""Also the start: of a worker, and of a key server."""
LIKE_THE_OTHERS: Final = 3
TO_THE_END: Final = 10_000
CUTS: Final = (Fault.CUT_BEFORE, Fault.CUT_AFTER)
OTHERS: Final = {
    "beside.destroy": (Fault.STORE_RESTART, Fault.STORE_REFUSES, Fault.STORE_DEMOTED),
    "beside.change": (Fault.STORE_RESTART, Fault.STORE_REFUSES, Fault.STORE_DEMOTED),
    "beside.forget": (Fault.STORE_RESTART, Fault.STORE_REFUSES, Fault.STORE_DEMOTED),
    "beside.hscan": (Fault.STORE_REFUSES, Fault.STORE_DEMOTED),
    "keyserver.hmget": (Fault.STORE_REFUSES, Fault.STORE_DEMOTED),
    "keyserver.set": (Fault.STORE_REFUSES, Fault.STORE_DEMOTED),
    "keyserver.delegate": (Fault.STORE_RESTART, Fault.STORE_REFUSES, Fault.STORE_DEMOTED),
    "audit.publish": (Fault.NACK, Fault.SILENCE, Fault.STALL, Fault.ALARM, Fault.BROKER_RESTART),
    "audit.read": (Fault.STALL, Fault.BROKER_RESTART),
    "publisher.publish": (
        Fault.NACK, Fault.SILENCE, Fault.STALL, Fault.ALARM, Fault.BROKER_RESTART
    ),
    "publisher.read": (Fault.STALL, Fault.BROKER_RESTART, Fault.CANCEL),
    "consumer.read": (Fault.STALL, Fault.CANCEL, Fault.BROKER_RESTART),
    "consumer.ack": (Fault.STALL, Fault.CANCEL, Fault.BROKER_RESTART),
    "store.sadd": (Fault.STORE_REFUSES,),
    "store.lookup": (Fault.STORE_RESTART, Fault.STORE_REFUSES),
    "store.commit": (
        Fault.STORE_RESTART, Fault.BROKER_RESTART, Fault.STORE_REFUSES, Fault.STORE_DEMOTED
    ),
    "store.take": (Fault.STORE_RESTART, Fault.CANCEL, Fault.STORE_REFUSES, Fault.STORE_DEMOTED),
    "store.remove": (
        Fault.STORE_RESTART, Fault.BROKER_RESTART, Fault.STORE_REFUSES, Fault.STORE_DEMOTED
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One run, in full: its text is enough to play it again.

    The text is the history, then the faults as ``life:step what``, or ``go/life:step what`` of who
    does something beside the workers, the schedule and the seed.
    """

    history: str
    faults: tuple[Faults, ...] = ()
    beside: tuple[tuple[int, tuple[Faults, ...]], ...] = ()
    """Of who does something beside the workers, by the number of the go."""
    schedule: Schedule | None = None
    seed: int | None = None

    @classmethod
    def read(cls, text: str) -> "Case":
        """Return the case of a text; raises `ValueError` if it is the text of none."""
        history, *parts = text.split("; ")
        if history not in HISTORIES:
            raise ValueError(f"no history is called {history}")
        case = cls(history)
        for part in parts:
            match part.split():
                case ["seed", seed]:
                    case = replace(case, seed=int(seed))
                case ["preempting", first, second]:
                    case = replace(case, schedule=Preempting(int(first), int(second)))
                case ["drawn", seed]:
                    case = replace(case, schedule=Drawn(int(seed)))
                case [at, *what]:
                    where, number = at.split(":")
                    go, _slash, life = where.rpartition("/")
                    fault = _at(int(life), int(number), Fault(" ".join(what)))
                    case = case.struck(fault, int(go) if go else None)
                case _:
                    raise ValueError("there is nothing between two semicolons")
        return case

    def __str__(self) -> str:
        struck = [*_texts("", self.faults)]
        for go, faults in self.beside:
            struck += _texts(f"{go}/", faults)
        schedule = [] if self.schedule is None else [str(self.schedule)]
        seed = [] if self.seed is None else [f"seed {self.seed}"]
        return "; ".join([self.history, *struck, *schedule, *seed])

    def struck(self, faults: tuple[Faults, ...], go: int | None = None) -> "Case":
        """Return it with more faults: of the worker, or of who does something beside a go."""
        if go is None:
            return replace(self, faults=_joined(self.faults, faults))
        beside = dict(self.beside)
        beside[go] = _joined(beside.get(go, ()), faults)
        return replace(self, beside=tuple(sorted(beside.items())))

    @property
    def command(self) -> str:
        """What plays it again."""
        return f'make simulate CASE="{self}"'

    def run(self) -> Played:
        """Play it; raises `Violation` if a promise is broken."""
        history, strikes = HISTORIES[self.history], Strikes(self.faults, dict(self.beside))
        try:
            if self.schedule is None:
                return play(history, strikes, seed=self.seed)
            return race(history, self.schedule, strikes, seed=self.seed)
        except BaseException as error:
            error.add_note(f"again: {self.command}")
            raise


def every_single(history: str, part: int = 0, parts: int = 1) -> Iterator[Case]:
    """Give the part of `singles` that is struck only where everything is asked for, too."""
    yield from islice(singles(history, everything=True), part, None, parts)


def singles(history: str, *, everything: bool = False) -> Iterator[Case]:
    """Give every step of a history, struck by every crash and by every cut."""
    played = Case(history).run()
    lives = played.work[0].steps
    for life, steps in enumerate(lives):
        if LIKE_THE_OTHERS <= life < len(lives) - 1 and not everything:
            continue
        for number in _struck(steps, everything=everything or history in IN_FULL):
            for fault in chain(_crashes(steps, number), CUTS):
                yield Case(history, _at(life, number, fault))
    for go, errand in played.beside.items():
        for life, steps in enumerate(errand.steps):
            for number in _struck(steps, everything=everything or history in IN_FULL):
                for fault in chain(_crashes(steps, number), CUTS):
                    yield Case(history).struck(_at(life, number, fault), go)


def others(history: str, part: int = 0, parts: int = 1) -> Iterator[Case]:
    """Give the other faults, each at every step where it can make a difference."""
    yield from islice(_others(history), part, None, parts)


def _others(history: str) -> Iterator[Case]:
    played = Case(history).run()
    for life, steps in enumerate(played.work[0].steps):
        for number, step in enumerate(steps):
            for fault in OTHERS.get(step.name, ()):
                yield Case(history, _at(life, number, fault))
    for go, errand in played.beside.items():
        for number, step in enumerate(errand.steps[0]):
            for fault in OTHERS.get(step.name, ()):
                yield Case(history).struck(_at(0, number, fault), go)


def pairs(history: str, part: int = 0, parts: int = 1) -> Iterator[Case]:
    """Give every crash and cut, and after each of them every other."""
    for first in islice(singles(history), part, None, parts):
        if not first.faults:
            yield from _pairs_beside(first)
            continue
        (number, fault), life = next(iter(first.faults[-1].items())), len(first.faults) - 1
        after = Case(history, first.faults).run().work[0].steps
        # After a crash the next process is struck, after a cut the same one.
        life += fault.ends_the_process
        for second in _struck(after[life]) if life < len(after) else ():
            if not fault.ends_the_process and second <= number:
                continue
            for other in chain(_crashes(after[life], second), CUTS):
                yield Case(history, _with(first.faults, life, second, other))


def _pairs_beside(first: Case) -> Iterator[Case]:
    """Give the same of who does something beside the workers: he is struck twice."""
    ((go, faults),) = first.beside
    (number, fault), life = next(iter(faults[-1].items())), len(faults) - 1
    after = first.run().beside[go].steps
    life += fault.ends_the_process
    for second in range(len(after[life])) if life < len(after) else ():
        if not fault.ends_the_process and second <= number:
            continue
        for other in chain(_crashes(after[life], second), CUTS):
            yield first.struck(_at(life, second, other), go)


def races(history: str, part: int = 0, parts: int = 1) -> Iterator[Case]:
    """Give every way in which one of two workers comes between any two steps of the other.

    Each is to be played before the next is asked for: what it has shown tells whether more
    steps would make another run.
    """
    width = _width(history)
    for first in range(part, width, parts):
        for second in range(1, width):
            schedule = Preempting(first, second)
            yield Case(history, schedule=schedule)
            if not schedule.was_preempted:
                return
            if not schedule.was_stopped:
                break


def stops(history: str) -> Iterator[Case]:
    """Give every step at which one of two workers stands still until the other has done all."""
    for first in range(_width(history)):
        yield Case(history, schedule=Preempting(first, TO_THE_END))
    if HISTORIES[history].beside:
        # A worker stands still until all is done that is done beside it.
        for second in range(1, _width(history)):
            yield Case(history, schedule=Preempting(0, second))


def sample(history: str, seed: int, number: int) -> Iterator[Case]:
    """Draw so many runs of each kind that is not played in full, with an awkward broker."""
    draw = random.Random(f"{history} {seed}")
    single = list(singles(history))
    other = list(others(history))
    for _ in range(number):
        manner = draw.randrange(1_000_000)
        yield replace(draw.choice(other), seed=manner)
        first = draw.choice(single)
        second = draw.choice(draw.choice((single, other)))
        yield replace(_both(first, second), seed=manner)
        yield Case(history, schedule=Drawn(draw.randrange(1_000_000)), seed=manner)
        drawn = Drawn(draw.randrange(1_000_000))
        yield replace(first, faults=first.faults[:1], schedule=drawn, seed=manner)


@contextmanager
def quietly() -> Iterator[None]:
    """Let workers log nothing: thousands of them have much to say."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.reset_defaults()


def _width(history: str) -> int:
    """Return how many steps a worker takes for all of it, if it goes to its end alone."""
    alone = race(HISTORIES[history], Preempting(TO_THE_END, 0))
    if alone.beside:
        return max(len(errand.steps[0]) for errand in alone.beside.values())
    return max(len(place.steps[0]) - place.opened for place in alone.work)


def _struck(steps: Sequence[Step], *, everything: bool = False) -> Iterator[int]:
    """Give the numbers of the steps to strike."""
    names = [step.name for step in steps]
    begin = 0 if everything or "consumer.consume" not in names else names.index("consumer.consume")
    for number in range(begin, len(steps)):
        if everything or not steps[number].is_idle:
            yield number


def _crashes(steps: Sequence[Step], number: int) -> Iterator[Fault]:
    if number == 0 or steps[number].in_flight:
        yield Fault.CRASH_BEFORE
    if steps[number].torn:
        yield Fault.CRASH_TORN
    yield Fault.CRASH_AFTER


def _texts(where: str, faults: Sequence[Faults]) -> Iterator[str]:
    for life, struck in enumerate(faults):
        for number, fault in struck.items():
            yield f"{where}{life}:{number} {fault.value}"


def _both(one: Case, other: Case) -> Case:
    joined = one.struck(other.faults)
    for go, faults in other.beside:
        joined = joined.struck(faults, go)
    return joined


def _at(life: int, number: int, fault: Fault) -> tuple[Faults, ...]:
    return (*({} for _ in range(life)), {number: fault})


def _with(faults: tuple[Faults, ...], life: int, number: int, fault: Fault) -> tuple[Faults, ...]:
    return _joined(faults, _at(life, number, fault))


def _joined(one: tuple[Faults, ...], other: tuple[Faults, ...]) -> tuple[Faults, ...]:
    lives = max(len(one), len(other))
    padded = [(*faults, *({} for _ in range(lives - len(faults)))) for faults in (one, other)]
    return tuple({**a, **b} for a, b in zip(*padded, strict=True))
