"""Waiting for what must come true: asked again and again, never slept through."""

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE_S: Final = 60.0
PAUSE_S: Final = 0.05
SHOWN: Final = 12


def pause() -> None:
    time.sleep(PAUSE_S)


def until(
    ask: Callable[[], T | None],
    what: str,
    *,
    within_s: float = PATIENCE_S,
    between: Callable[[], object] = pause,
) -> T:
    """Ask until the answer is truthy, and return it."""
    deadline = time.monotonic() + within_s
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        between()
    return answer


def until_none(
    problems: Callable[[], Iterable[str]],
    *,
    within_s: float = PATIENCE_S,
    between: Callable[[], object] = pause,
) -> None:
    """Look for problems until there are none, and show the last ones found."""
    deadline = time.monotonic() + within_s
    while found := list(problems()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still so after {within_s:g} s:\n{listed(found)}")
        between()


def none_of(problems: Iterable[str]) -> None:
    """Fail if there is a problem, and show the first ones."""
    found = list(problems)
    assert not found, listed(found)


def listed(problems: list[str]) -> str:
    lines = [f"  - {problem}" for problem in islice(problems, SHOWN)]
    more = len(problems) - len(lines)
    return "\n".join(lines + ([f"  … and {more} more"] if more else []))
