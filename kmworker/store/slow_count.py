"""Counting a whole store, a little at a time.

What it costs grows with the store, so it is never done in one go: each step sends something small
or reads what has come of it meanwhile, and the next is not before twenty times as long has passed.
One worker counts, by lease; another begins anew if it ends.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from kmworker.store import leases
from kmworker.store.client import Client
from kmworker.store.pipe import Command

__all__ = ["SlowCount"]

# The share of time that counting may take up.
SHARE: Final = 0.05
# At least; after which another worker takes it that this one has ended.
LEASE_S: Final = 30.0
OVER: Final = object()
"""In place of a step, where there is none."""


class SlowCount:
    """One worker's steps of a count that all of them share."""

    def __init__(  # noqa: PLR0913, PLR0917  # its parts
        self,
        client: Client,
        lease: str,
        holder: str,
        monotonic: Callable[[], float],
        count: Callable[[float], Iterator[None]],
        every_s: float,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: of the store.
            lease: the key of the lease that whoever counts holds.
            holder: this worker.
            monotonic: by which steps are due; seconds.
            count: begins a count at a time, Unix seconds; each step is a time in which Redis does
                its part. It is to `keep` the lease, and to `end` it.
            every_s: at least, from the end of one count to the beginning of the next.
        """
        self._client = client
        self._lease = lease
        self._holder = holder
        self._monotonic = monotonic
        self._count = count
        self._every_s = every_s
        # Whoever asks for it cuts it to this.
        self._lease_s = max(LEASE_S, every_s)
        self._steps: Iterator[None] = iter(())
        self._next_at = -math.inf

    def step_if_due(self, now: float) -> bool:
        """Go on by one step, if it is time; return whether it was.

        Args:
            now: Unix seconds.

        Raises:
            RedisError: the count begins anew the next time.
        """
        began = self._monotonic()
        if began < self._next_at:
            return False
        self._next_at = began + self._every_s
        if not (self._go_on() or self._begin(now)):
            return False
        ended = self._monotonic()
        self._next_at = ended + (ended - began) / SHARE
        return True

    def keeping(self) -> Command:
        """Return what keeps the lease, to be sent with a step."""
        return "PEXPIRE", self._lease, int(self._lease_s * 1000)

    def keep(self) -> None:
        """Keep the lease."""
        leases.keep(self._client, self._lease, self._lease_s)

    def end(self) -> None:
        """Leave the next count to whoever comes first: another worker, or this one."""
        leases.keep(self._client, self._lease, self._every_s * 0.9)

    def asked(self, commands: Sequence[Command]) -> Generator[None, None, list[Any]]:
        """Do a step that asks: return the replies; of a key with another type, the error."""
        replies = self._client.pipe.send(commands)
        yield
        found = replies.result()
        for reply in found:
            if isinstance(reply, RedisError) and "WRONGTYPE" not in str(reply):
                raise reply
        return found

    def _go_on(self) -> bool:
        """Do a step of the count that is under way; return whether there was one."""
        return next(self._steps, OVER) is not OVER

    def _begin(self, now: float) -> bool:
        """Do the first step of a new count; return whether it is this worker's to count."""
        if not leases.take(self._client, self._lease, self._holder, self._lease_s):
            return False
        self._steps = self._count(now)
        return self._go_on()
