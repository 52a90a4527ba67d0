"""Two workers, step by step: whoever holds the baton takes the next step, the other stands.

Each has a thread of its own, because the worker's loop is an ordinary one, but only one of
them runs at any time, and a schedule says which: equal schedules give equal runs.
"""

import random
from collections.abc import Callable, Sequence
from threading import Semaphore, Thread
from typing import Protocol


class Stepping(Protocol):
    """Something that works until it is quiet and calls ``between`` before each step."""

    between: Callable[[str], None]

    def turn_until_quiet(self) -> None:
        """Work."""
        ...


class Schedule(Protocol):
    """Says who goes next."""

    def next(self, ready: Sequence[int], taken: Sequence[int]) -> int:
        """Return one of ``ready``, given how many steps each has taken."""
        ...


class Preempting:
    """The first takes so many steps, then the second so many; then each goes to its end.

    Attributes:
        was_preempted: whether the first had still something to do after so many steps. If not,
            more of them make the same run.
        was_stopped: whether the second had, too, after its own; the same goes for these.
    """

    def __init__(self, first: int, second: int) -> None:
        self.was_preempted = False
        self.was_stopped = False
        self._first = first
        self._second = second

    def __str__(self) -> str:
        return f"preempting {self._first} {self._second}"

    def next(self, ready: Sequence[int], taken: Sequence[int]) -> int:
        """Return whose turn it is."""
        if taken[0] >= self._first and len(ready) > 1:
            self.was_preempted = True
            self.was_stopped |= taken[1] >= self._second
        wanted = 1 if taken[0] >= self._first and taken[1] < self._second else 0
        return wanted if wanted in ready else ready[0]


class Drawn:
    """Whoever is drawn, from a seed; the same one again more often than not."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._last = 0

    def __str__(self) -> str:
        return f"drawn {self._seed}"

    def next(self, ready: Sequence[int], taken: Sequence[int]) -> int:  # noqa: ARG002  # chance does not count
        """Return whose turn it is."""
        if self._last not in ready or self._random.random() < 0.3:
            self._last = self._random.choice(ready)
        return self._last


class Baton:
    """Lets several work at once, one step at a time."""

    def __init__(self, schedule: Schedule) -> None:
        self.taken: list[int] = []
        self._schedule = schedule
        self._back = Semaphore(0)
        self._errors: list[BaseException] = []

    def run(self, *runners: Stepping) -> None:
        """Let all of them work until all are quiet; raise what the first of them raised."""
        turns = [Semaphore(0) for _ in runners]
        self.taken = [0] * len(runners)
        done: set[int] = set()
        threads = [
            Thread(target=self._work, args=(runner, number, turns[number], done), daemon=True)
            for number, runner in enumerate(runners)
        ]
        for thread in threads:
            thread.start()
        while ready := [number for number in range(len(runners)) if number not in done]:
            turns[self._schedule.next(ready, self.taken)].release()
            self._back.acquire()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _work(self, runner: Stepping, number: int, turn: Semaphore, done: set[int]) -> None:
        def between(_name: str) -> None:
            self._back.release()
            turn.acquire()
            self.taken[number] += 1

        turn.acquire()
        runner.between = between
        try:
            runner.turn_until_quiet()
        except BaseException as error:  # noqa: BLE001  # it is raised in the caller's thread
            self._errors.append(error)
        finally:
            runner.between = _nobody
            done.add(number)
            self._back.release()


def _nobody(_name: str) -> None:
    """Let nobody else have a turn."""
