"""Projects whose waiting events are near their bound: one small hash for a person to look at.

Written when an event is parked there, or is one too many, and put right by whoever sweeps. It
says what is so within `waiting.sweep_s`; what bounds a waiting room are its own shares.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from redis.exceptions import RedisError

from kmworker.store.client import Client
from kmworker.store.connection import store_errors
from kmworker.store.names import Names
from kmworker.store.paging import Pages

__all__ = ["Crowd", "Crowds", "crowd_in"]

NEAR: Final = 0.8
# Looked at in one sweep.
PAGE_SIZE: Final = 100
# What reading a value may raise that someone else wrote there.
UNREADABLE: Final = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Crowd:
    """How much of a project's waits in one waiting room, and how much may."""

    project: str
    source_project: str
    """For whose items they wait."""
    events: int
    events_max: int
    size_bytes: int
    bytes_max: int

    @property
    def share(self) -> float:
        """Return how much of the nearer bound is taken up; 1 is all."""
        return max(self.events / max(self.events_max, 1), self.size_bytes / max(self.bytes_max, 1))


def crowd_in(name: bytes, text: bytes) -> Crowd | None:
    """Return what an entry of the hash says, None if someone spoilt it."""
    try:
        project, source_project = name.decode().split(" ")
        fields = json.loads(text)
        numbers = [int(fields[key]) for key in ("events", "events_max", "bytes", "bytes_max")]
    except UNREADABLE:
        return None
    return Crowd(project, source_project, *numbers)


def _share_in(text: bytes | None) -> tuple[int, int]:
    """Return the events and bytes of a share; one that someone spoilt counts for nothing."""
    try:
        fields = json.loads(text or b"")
        return int(fields["events"]), int(fields["bytes"])
    except UNREADABLE:
        return 0, 0


class Crowds:
    """Keeps the hash of one store."""

    def __init__(self, client: Client, names: Names) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._key = names.top("crowded")
        self._pages = Pages(client, PAGE_SIZE)

    def note(self, crowds: Mapping[str, bytes]) -> None:
        """Write what was seen while parking, and wait for nothing."""
        fields = [part for pair in crowds.items() for part in pair]
        if fields:
            with store_errors():
                self._client.pipe.send([("HSET", self._key, *fields)])

    def review(self) -> None:
        """Put some entries right, and take out those that are not near their bound any more."""
        with store_errors():
            try:
                for name, text in self._pages.next(self._key).items():
                    self._review(name, text)
            except RedisError as error:
                if "WRONGTYPE" not in str(error):
                    raise

    def _review(self, name: bytes, text: bytes) -> None:
        crowd = crowd_in(name, text)
        if crowd is None:
            self._client.hdel(self._key, name)
            return
        shares = self._names.of(crowd.source_project, "waiting:shares")
        events, size_bytes = _share_in(self._client.hget(shares, crowd.project))
        now = replace(crowd, events=events, size_bytes=size_bytes)
        if now.share < NEAR:
            self._client.hdel(self._key, name)
        elif now != crowd:
            fields = {**json.loads(text), "events": now.events, "bytes": now.size_bytes}
            self._client.hset(self._key, name, json.dumps(fields, separators=(",", ":")))
