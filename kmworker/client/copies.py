"""Copies of keys that this process keeps, until they are over or it is told to give them up.

When a copy is over goes by a clock that nobody sets, and counts from when it was asked for. In
doubt, nothing is used: what may have ended is asked for anew.
"""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from kmworker.delegation.buffer import KeyBuffer
from kmworker.delegation.checking import DeliveredKey
from kmworker.delegation.requests import FRESH_S
from kmworker.domain.model import Item
from kmworker.domain.values import value
from kmworker.wire.answers.bodies import Revoked
from kmworker.wire.answers.messages import Refusal, Revoking

__all__ = ["Copies", "GivenUp", "boottime"]

REFRESH_FROM: Final = 0.5
REFRESH_UNTIL: Final = 0.75
"""Between which shares of its life a copy is asked for anew: hosts that began together do not ask
together."""
AGAIN_S: Final = 30.0
"""After which a copy is asked for once more that could not be had: half of it to all of it."""
CLOCKS_S: Final = 5.0
"""What two key servers' times may be apart by: both go by the store's."""
MAX_ENDED: Final = 10_000


def boottime() -> float:
    """Return seconds that also pass while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@value
class GivenUp:
    """A copy that is kept no more: it is wiped."""

    item: Item
    key_id: str
    cause: Revoking | Refusal
    """What has ended, or why it was refused when it was asked for anew."""


class _Doubt(IntEnum):
    """Why a copy is to be asked for before it is used."""

    NONE = 0
    UNHEARD = 1
    """Something may have ended unheard: where nobody answers, it is used."""
    TOLD = 2
    """It may be what a key server said has ended: it is not used."""


@dataclass(slots=True)
class _Copy:
    delivered: DeliveredKey
    delivered_at_s: float
    """By the key server's clock, Unix seconds."""
    until: float
    ask_at: float
    doubt: _Doubt = _Doubt.NONE

    def doubted(self, why: _Doubt, ask_at: float) -> None:
        self.doubt, self.ask_at = max(self.doubt, why), ask_at


class Copies:
    """Of one process, for any number of threads."""

    def __init__(
        self,
        grace_s: float = 0.0,
        now: Callable[[], float] = boottime,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Begin with none.

        Args:
            grace_s: how long a copy may be used beyond its time, where nobody answers.
            now: seconds, as `boottime` returns them.
            draw: between two numbers.
        """
        self._grace_s = grace_s
        self._now = now
        self._draw = draw
        self._lock = threading.Lock()
        self._copies: dict[Item, _Copy] = {}
        self._ended: OrderedDict[Item, float] = OrderedDict()
        """By the key servers' clock, when this process heard last that an item's key has ended."""

    def __len__(self) -> int:
        return len(self._copies)

    def keep(self, item: Item, delivered: DeliveredKey, at_s: float, since: float) -> bool:
        """Keep a copy of what was delivered; False: it has ended since, and is not kept.

        Args:
            item: whose key.
            delivered: it stays the caller's.
            at_s: the key server's time, Unix seconds.
            since: when it was asked for.
        """
        life_s = since + delivered.keep_s - self._now()
        copy = _Copy(
            _copied(delivered, delivered.keep_s),
            at_s,
            since + delivered.keep_s,
            self._now() + life_s * self._draw(REFRESH_FROM, REFRESH_UNTIL),
        )
        with self._lock:
            ended_at_s = self._ended.get(item, 0.0)
            if ended_at_s >= at_s:
                # Heard while it was on its way.
                copy.delivered.key.wipe()
                return False
            self._take(item)
            self._copies[item] = copy
            if ended_at_s > at_s - CLOCKS_S:
                copy.doubted(_Doubt.TOLD, self._now() + 2 * CLOCKS_S)
        return True

    def usable(self, item: Item, *, is_unanswered: bool = False) -> DeliveredKey | None:
        """Return a copy that may be used now: the caller's own, to be wiped by it.

        Args:
            item: whose key.
            is_unanswered: whether it was asked for, and nobody has answered.
        """
        with self._lock:
            copy = self._copies.get(item)
            bearable = _Doubt.UNHEARD if is_unanswered else _Doubt.NONE
            if copy is None or copy.doubt > bearable:
                return None
            left_s = copy.until - self._now()
            if left_s + (self._grace_s if is_unanswered else 0.0) <= 0:
                return None
            return _copied(copy.delivered, max(left_s, 0.0))

    def end(self, revoked: Revoked, at_s: float) -> GivenUp | None:
        """Give up what has ended; None: there is no such copy, or it is to be asked for anew.

        Args:
            revoked: as a key server has signed it.
            at_s: its time, Unix seconds.
        """
        item = revoked.item
        if item is None:
            return None
        with self._lock:
            self._ended[item] = max(at_s, self._ended.pop(item, 0.0))
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
            copy = self._copies.get(item)
            if copy is None or copy.delivered.key_id != revoked.key_id:
                return None
            if at_s >= copy.delivered_at_s:
                return self._given_up(item, revoked.cause)
            if at_s > copy.delivered_at_s - FRESH_S:
                # It was delivered later, if both clocks are right; an old message changes nothing.
                copy.doubted(_Doubt.TOLD, self._now())
        return None

    def give_up(self, item: Item, cause: Refusal) -> GivenUp | None:
        """Give up what was refused; None: there is no copy."""
        with self._lock:
            return self._given_up(item, cause) if item in self._copies else None

    def give_up_old(self) -> list[GivenUp]:
        """Give up what is over, and may not be used even where nobody answers."""
        with self._lock:
            now = self._now()
            over = [it for it, copy in self._copies.items() if copy.until + self._grace_s <= now]
            return [self._given_up(it, Revoking.EXPIRED) for it in over]

    def doubt_all(self) -> None:
        """Have all of them asked for anew, before they are used: much may have ended unheard."""
        with self._lock:
            for copy in self._copies.values():
                copy.doubted(_Doubt.UNHEARD, self._now())

    def to_ask(self) -> list[tuple[Item, str]]:
        """Return what is to be asked for anew now, and the key-ids; what is longest due first."""
        with self._lock:
            now = self._now()
            due = [(copy.ask_at, it) for it, copy in self._copies.items() if copy.ask_at <= now]
            due.sort(key=lambda it: it[0])
            return [(it, self._copies[it].delivered.key_id) for _at, it in due]

    def ask_later(self, item: Item) -> None:
        """Have it asked for once more in a while: nobody has answered."""
        with self._lock:
            copy = self._copies.get(item)
            if copy is not None:
                copy.ask_at = self._now() + self._draw(AGAIN_S / 2, AGAIN_S)

    def clear(self) -> None:
        """Wipe all."""
        with self._lock:
            for item in list(self._copies):
                self._take(item)

    def wipe_unlocked(self) -> None:
        """Wipe all in a child that was forked just now, where a thread may have had the lock."""
        for copy in self._copies.values():
            copy.delivered.key.wipe()

    def _given_up(self, item: Item, cause: Revoking | Refusal) -> GivenUp:
        key_id = self._copies[item].delivered.key_id
        self._take(item)
        return GivenUp(item, key_id, cause)

    def _take(self, item: Item) -> None:
        copy = self._copies.pop(item, None)
        if copy is not None:
            copy.delivered.key.wipe()


def _copied(delivered: DeliveredKey, keep_s: float) -> DeliveredKey:
    return DeliveredKey(
        KeyBuffer(delivered.key.view),
        delivered.key_id,
        delivered.encryption,
        delivered.state,
        delivered.not_after,
        keep_s,
    )
