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
from tests.kit.simulator.play import Faults, Place, play, race
from tests.kit.simulator.steps import Fault, Step

IN_FULL: Final = "create"
LIKE_THE_OTHERS: Final = 3
TO_THE_END: Final = 10_000
CUTS: Final = (Fault.CUT_BEFORE, Fault.CUT_AFTER)
OTHERS: Final = {
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

    The text is the history, then the faults as ``life:step what``, the schedule and the seed.
    """

    history: str
    faults: tuple[Faults, ...] = ()
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
                    life, number = at.split(":")
                    fault = _at(int(life), int(number), Fault(" ".join(what)))
                    case = replace(case, faults=_joined(case.faults, fault))
                case _:
                    raise ValueError("there is nothing between two semicolons")
        return case

    def __str__(self) -> str:
        struck = [
            f"{life}:{number} {fault.value}"
            for life, faults in enumerate(self.faults)
            for number, fault in faults.items()
        ]
        schedule = [] if self.schedule is None else [str(self.schedule)]
        seed = [] if self.seed is None else [f"seed {self.seed}"]
        return "; ".join([self.history, *struck, *schedule, *seed])

    @property
    def command(self) -> str:
        """What plays it again."""
        return f'make simulate CASE="{self}"'

    def run(self) -> Place:
        """Play it; raises `Violation` if a promise is broken."""
        history = HISTORIES[self.history]
        try:
            if self.schedule is None:
                return play(history, self.faults, seed=self.seed)
            return race(history, self.schedule, self.faults, seed=self.seed)[0]
        except BaseException as error:
            error.add_note(f"again: {self.command}")
            raise


def every_single(history: str, part: int = 0, parts: int = 1) -> Iterator[Case]:
    """Give the part of `singles` that is struck only where everything is asked for, too."""
    yield from islice(singles(history, everything=True), part, None, parts)


def singles(history: str, *, everything: bool = False) -> Iterator[Case]:
    """Give every step of a history, struck by every crash and by every cut."""
    lives = Case(history).run().steps
    for life, steps in enumerate(lives):
        if LIKE_THE_OTHERS <= life < len(lives) - 1 and not everything:
            continue
        for number in _struck(steps, everything=everything or history == IN_FULL):
            for fault in chain(_crashes(steps, number), CUTS):
                yield Case(history, _at(life, number, fault))


def others(history: str, part: int = 0, parts: int = 1) -> Iterator[Case]:
    """Give the other faults, each at every step where it can make a difference."""
    yield from islice(_others(history), part, None, parts)


def _others(history: str) -> Iterator[Case]:
    for life, steps in enumerate(Case(history).run().steps):
        for number, step in enumerate(steps):
            for fault in OTHERS.get(step.name, ()):
                yield Case(history, _at(life, number, fault))


def pairs(history: str, part: int = 0, parts: int = 1) -> Iterator[Case]:
    """Give every crash and cut, and after each of them every other."""
    for first in islice(singles(history), part, None, parts):
        (number, fault), life = next(iter(first.faults[-1].items())), len(first.faults) - 1
        after = Case(history, first.faults).run().steps
        # After a crash the next process is struck, after a cut the same one.
        life += fault.ends_the_process
        for second in _struck(after[life]) if life < len(after) else ():
            if not fault.ends_the_process and second <= number:
                continue
            for other in chain(_crashes(after[life], second), CUTS):
                yield Case(history, _with(first.faults, life, second, other))


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


def sample(history: str, seed: int, number: int) -> Iterator[Case]:
    """Draw so many runs of each kind that is not played in full, with an awkward broker."""
    draw = random.Random(f"{history} {seed}")
    single = list(singles(history))
    other = list(others(history))
    for _ in range(number):
        manner = draw.randrange(1_000_000)
        yield Case(history, draw.choice(other).faults, seed=manner)
        first = draw.choice(single)
        second = draw.choice(draw.choice((single, other)))
        yield Case(history, _joined(first.faults, second.faults), seed=manner)
        yield Case(history, schedule=Drawn(draw.randrange(1_000_000)), seed=manner)
        yield Case(history, first.faults[:1], Drawn(draw.randrange(1_000_000)), manner)


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
    return max(len(place.steps[0]) - place.opened for place in alone)


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


def _at(life: int, number: int, fault: Fault) -> tuple[Faults, ...]:
    return (*({} for _ in range(life)), {number: fault})


def _with(faults: tuple[Faults, ...], life: int, number: int, fault: Fault) -> tuple[Faults, ...]:
    return _joined(faults, _at(life, number, fault))


def _joined(one: tuple[Faults, ...], other: tuple[Faults, ...]) -> tuple[Faults, ...]:
    lives = max(len(one), len(other))
    padded = [(*faults, *({} for _ in range(lives - len(faults)))) for faults in (one, other)]
    return tuple({**a, **b} for a, b in zip(*padded, strict=True))
