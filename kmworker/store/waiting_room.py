"""The waiting rooms as a person handles them: by what dashboards see, and without a keyring.

The events themselves are sealed and closed. All that is done here is to set a deadline:
what becomes of the event is the worker's to decide, as for any that is past its own.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from kmworker.clock import rfc3339
from kmworker.store.connection import store_errors
from kmworker.store.scripts import Scripts
from kmworker.store.views import PORTION, Views, portions

__all__ = ["Expired", "WaitingEvent", "WaitingRoom"]

EXPIRE_KEYS: Final = ("waiting", "waiting:deadlines")


class Expired(IntEnum):
    """What became of an entry that was to expire."""

    GONE = 0
    """It has left the waiting room meanwhile."""
    NOW = 1
    PAST = 2
    """Its deadline was past before: a sweep is due for it."""


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """An event that waits for its source; empty text where the record is damaged."""

    project: str
    entry: str
    item: str
    source: str
    since: str
    deadline: str
    deadline_s: float
    """Unix seconds, as the sweep sees it."""
    attempts: int


class WaitingRoom:
    """Reads and expires; raises as `Views` does."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._scripts = Scripts(views.client)

    def events(self, project: str) -> Iterator[list[WaitingEvent]]:
        """Give a project's waiting events in portions, by their deadlines, the earliest first.

        By score and not by rank: what leaves meanwhile would move all ranks behind it, and
        as many events would be passed over.
        """
        key = self._views.names.of(project, "waiting:deadlines")
        low, offset = float("-inf"), 0
        while True:
            with store_errors():
                found = self._views.client.zrangebyscore(
                    key, low, "+inf", start=offset, num=PORTION, withscores=True
                )
            if not found:
                return
            yield list(self._read(project, found))
            last = found[-1][1]
            # Many may have one deadline: go on among them.
            equals = sum(score == last for _, score in found)
            offset = offset + equals if last == low else equals
            low = last

    def expire(self, project: str, entries: Sequence[str], now_s: float) -> list[Expired]:
        """Set the entries' deadlines to now; say of each what became of it.

        Args:
            project: whose waiting room.
            entries: their names.
            now_s: Unix seconds, by the store's clock.
        """
        done: list[Expired] = []
        keys = self._views.names.all_of(project, *EXPIRE_KEYS)
        for portion in portions(entries):
            argv = [f"{now_s:.3f}", rfc3339(now_s), *portion]
            (codes,), _none = self._scripts.run([("expire", keys, argv)])
            done += [Expired(code) for code in codes]
        return done

    def _read(self, project: str, found: Sequence[tuple[bytes, float]]) -> Iterator[WaitingEvent]:
        names = [name.decode(errors="replace") for name, _ in found]
        records = self._views.records(project, "waiting", names)
        for name, (_, score), record in zip(names, found, records, strict=True):
            # It has left between the two requests.
            if record is not None:
                yield _event(project, name, score, record)


def _event(project: str, name: str, score: float, record: bytes) -> WaitingEvent:
    fields = _fields(record)
    attempts = fields.get("attempts")
    return WaitingEvent(
        project=project,
        entry=name,
        item=_text(fields, "item"),
        source=_text(fields, "source"),
        since=_text(fields, "since"),
        deadline=_text(fields, "deadline"),
        deadline_s=score,
        attempts=attempts if isinstance(attempts, int) else 0,
    )


def _fields(record: bytes) -> dict[str, Any]:
    # Open to whoever may write there, and not sealed.
    try:
        fields = json.loads(record)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""
