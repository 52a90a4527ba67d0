"""How many DEKs may have been wrapped under each KEK: counted before it is done.

A project's wrapping key takes nonces at random, so it is good for 2**32 wraps (NIST SP 800-38D,
section 8.3). What counts is what was made, be it stored or not: the commit may fail, and the
process end. So each process reserves wraps of all projects together, a block at a time, and makes
none that is not reserved (`km:wraps`). Which project they were made in is counted with the record
that names them (`commit.lua`, `rewrap.lua`: field ``wraps:<kek_id>`` of the project's stats). What
is reserved and not found again there, any project may have made: see `most_wraps`.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from redis.exceptions import RedisError

from kmworker.store.client import Client
from kmworker.store.connection import is_no_number, store_errors, translate
from kmworker.store.names import Names
from kmworker.store.pipe import Command

__all__ = ["MAX_LOST_WRAPS", "WRAPS", "Wraps", "most_wraps"]

WRAPS: Final = "wraps"
# Of the first block, so that a process which makes few wastes few; each next one is twice as large.
FIRST_BLOCK: Final = 2_048
LAST_BLOCK: Final = 65_536
MAX_LOST_WRAPS: Final = 1_000
"""Wraps for each commit that a store has lost: as many as a batch has events at most. It has a
quarter of that by default, so this leaves room for those whose commit failed."""


class ActiveKek(Protocol):
    """What says under which KEK is wrapped."""

    kek_id: str


class Wraps:
    """One process's reserve of wraps under the active KEK."""

    def __init__(self, client: Client, names: Names, kek: ActiveKek) -> None:
        self._client = client
        self._key = names.top(WRAPS)
        self._kek = kek
        self._kek_id, self._block = "", FIRST_BLOCK
        self._left = self._half = 0
        self._is_asked = False

    def take(self) -> None:
        """Take one wrap out of the reserve, before it is made.

        Raises:
            StoreUnavailable: it is used up, and the store reserves no more.
        """
        if self._kek.kek_id != self._kek_id:
            self._begin(self._kek.kek_id)
        if not self._left:
            # Seldom: what a batch has asked for is there before it is needed.
            commands = self._asking()
            with store_errors():
                replies = self._client.pipe.send(commands).result()
            self.reserved(commands, replies)
        self._left -= 1

    def reserving(self) -> list[Command]:
        """Return what reserves a block, if the last one is half used; to be sent with anything.

        Sent twice, it reserves one that nobody uses: never too few.
        """
        if self._kek.kek_id != self._kek_id:
            self._begin(self._kek.kek_id)
        if self._is_asked or self._left > self._half:
            return []
        return self._asking()

    def reserved(self, commands: Sequence[Command], replies: Sequence[Any]) -> None:
        """Take up the replies to `reserving`.

        Raises:
            StoreUnavailable: the store refuses.
        """
        for (_name, _key, kek_id, block), reply in zip(commands, replies, strict=True):
            if kek_id != self._kek_id:
                continue
            self._is_asked = False
            # Of a count that somebody has written over, `doctor` tells; no event waits for it.
            if isinstance(reply, RedisError) and not _is_spoilt(reply):
                raise translate(reply)
            self._left += block
            self._half, self._block = block // 2, min(2 * block, LAST_BLOCK)

    def forget(self) -> None:
        """Leave what is reserved: another server may not have heard of it."""
        self._begin(self._kek.kek_id)

    def _asking(self) -> list[Command]:
        self._is_asked = True
        return [("HINCRBY", self._key, self._kek_id, self._block)]

    def _begin(self, kek_id: str) -> None:
        """Begin with a KEK of which nothing is reserved yet."""
        self._kek_id, self._block = kek_id, FIRST_BLOCK
        self._left, self._half, self._is_asked = 0, 0, False


def _is_spoilt(error: RedisError) -> bool:
    return is_no_number(error) or "WRONGTYPE" in str(error)


def most_wraps(reserved: int, counted: int, most_counted: int) -> int:
    """Return how many wraps under a KEK one project may have made at most.

    It made those that are counted there, and at most all that are reserved and counted nowhere.
    Counts only grow: ``reserved`` read last, this holds whatever was made meanwhile.

    Args:
        reserved: for all projects together.
        counted: in all projects together.
        most_counted: in the one that has most.
    """
    return most_counted + max(reserved - counted, 0)
