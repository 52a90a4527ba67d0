"""Waiting for what must come true: asked again and again, never slept through."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 60.0
PAUSE_S = 0.05


def until(ask: Callable[[], T | None], what: str, *, within_s: float = PATIENCE_S) -> T:
    """Ask until the answer is truthy, and return it."""
    deadline = time.monotonic() + within_s
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(PAUSE_S)
    return answer
