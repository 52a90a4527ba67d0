"""The waiting rooms as a person handles them: by what dashboards see, and without a keyring.

The events themselves are sealed and closed. All that is done here is to set a deadline:
what becomes of the event is the worker's to decide, as for any that is past its own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

from kmworker.clock import rfc3339
from kmworker.store.connection import store_errors
from kmworker.store.due import marking
from kmworker.store.inspection import PAGE_SIZE, Views, finite, pages
from kmworker.store.scripts import Scripts

__all__ = ["Expired", "WaitingEvent", "WaitingRoom"]

EXPIRE_KEYS: Final = ("waiting", "waiting:deadlines")
FEW: Final = 20
"""So many of a project are read together with those of other projects."""

Scored: TypeAlias = Sequence[tuple[bytes, float]]
"""Entries and their deadlines."""


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

    def all_events(self) -> Iterator[list[WaitingEvent]]:
        """Give all projects' waiting events in pages, those of one project as `events` does."""
        for projects in self._views.projects_waiting():
            pipeline = self._views.client.pipeline(transaction=False)
            for project in projects:
                key = self._views.names.of(project, "waiting:deadlines")
                pipeline.zrangebyscore(key, "-inf", "+inf", start=0, num=FEW, withscores=True)
            with store_errors():
                first = pipeline.execute()
            found = dict(zip(projects, first, strict=True))
            yield self._read_few({it: few for it, few in found.items() if 0 < len(few) < FEW})
            for project, some in found.items():
                if len(some) == FEW:
                    yield from self.events(project)

    def events(self, project: str) -> Iterator[list[WaitingEvent]]:
        """Give a project's waiting events in pages, by their deadlines, the earliest first.

        By score and not by rank: what leaves meanwhile would move all ranks behind it, and
        as many events would be skipped.
        """
        key = self._views.names.of(project, "waiting:deadlines")
        low, offset = float("-inf"), 0
        while True:
            with store_errors():
                found = self._views.client.zrangebyscore(
                    key, low, "+inf", start=offset, num=PAGE_SIZE, withscores=True
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
        for page in pages(entries):
            argv = [f"{now_s:.3f}", rfc3339(now_s), *page]
            (codes,) = self._scripts.run([("expire", keys, argv)])
            done += [Expired(code) for code in codes]
        # So that the next sweep looks there.
        with store_errors():
            for command in marking(self._views.names.top("due"), project, now_s):
                self._views.client.execute_command(*command)
        return done

    def _read_few(self, found: Mapping[str, Scored]) -> list[WaitingEvent]:
        """Read the events of many projects at once."""
        pipeline = self._views.client.pipeline(transaction=False)
        for project, entries in found.items():
            names = [name for name, _ in entries]
            pipeline.hmget(self._views.names.of(project, "waiting"), names)
        with store_errors():
            replies = pipeline.execute() if found else []
        return [
            event
            for (project, entries), records in zip(found.items(), replies, strict=True)
            for event in _events(project, entries, records)
        ]

    def _read(self, project: str, found: Scored) -> Iterator[WaitingEvent]:
        names = [name.decode(errors="replace") for name, _ in found]
        return _events(project, found, self._views.records(project, "waiting", names))


def _events(project: str, found: Scored, records: Sequence[bytes | None]) -> Iterator[WaitingEvent]:
    for (name, score), record in zip(found, records, strict=True):
        # It has left between the two requests.
        if record is not None:
            yield _event(project, name.decode(errors="replace"), score, record)


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
        deadline_s=finite(score),
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
