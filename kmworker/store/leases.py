"""Leases: work that one worker at a time does, for as long as it says it needs."""

import math
from typing import Any, Final

__all__ = ["give_back", "keep", "take"]

# No account may delete: a lease that is given back ends by itself, at once.
GIVEN_BACK_S: Final = 0.001


def take(client: Any, key: str, holder: str, seconds: float) -> bool:  # noqa: ANN401  # the library's types leave open whether replies are bytes
    """Return whether ``holder`` may do the work for the next seconds, alone.

    A worker that dies gives nothing back, so a lease ends by itself; and whatever stands in its
    place ends then, too. One that someone has written without an end would leave the work undone
    for ever, and nobody would be told.

    Raises:
        RedisError: the store does not answer, or refuses.
    """
    ms = math.ceil(seconds * 1000)
    if client.set(key, holder, nx=True, px=ms):
        return True
    client.pexpire(key, ms, lt=True)
    return False


def keep(client: Any, key: str, seconds: float) -> None:  # noqa: ANN401  # as above
    """Let a lease that one has go on for the next seconds; raises as `take` does."""
    client.pexpire(key, math.ceil(seconds * 1000))


def give_back(client: Any, key: str) -> None:  # noqa: ANN401  # as above
    """End a lease that one has; raises as `take` does."""
    keep(client, key, GIVEN_BACK_S)
