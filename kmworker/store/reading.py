"""Reading a store in pages, and reading several of a project's keys at one moment."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import redis

from kmworker.domain.model import Place
from kmworker.errors import PermanentError, UnknownKek
from kmworker.store.connection import store_errors
from kmworker.store.inspection import pages
from kmworker.store.names import Names

__all__ = [
    "PAGE_SIZE", "SORTED_SETS", "TYPES", "Fetched", "Flaw", "Named", "StoreReader", "flaw_of",
    "text",
]  # fmt: skip

# Enough to make round trips rare, too few to hold up the workers.
PAGE_SIZE: Final = 500

TYPES: Final[Mapping[str, str]] = {
    "items": "hash", "keys": "hash", "scopes": "hash", "deks": "hash", "lineage": "zset",
    "holders": "hash", "stats": "hash", "parked": "hash", "waiting": "hash",
    "waiting:deadlines": "zset", "waiting:sources": "zset", "expired": "hash",
    "waiting:shares": "hash", "clones": "hash", "outbox": "hash", "keys:due": "zset",
    "tombstones": "zset", "grants": "hash", "unrecorded": "hash", "endings": "list",
}  # fmt: skip
"""Every key of a project, and what it is."""
SORTED_SETS: Final = frozenset(key for key, kind in TYPES.items() if kind == "zset")
LISTS: Final = frozenset(key for key, kind in TYPES.items() if kind == "list")

Named = tuple[bytes, Any]
"""A field with its value, a member with its score, or a place in a list with what is there."""
Fetched = dict[str, dict[str, Any]]
"""By key and name: a field's value, or a member's score; None where there is none."""


class Flaw(NamedTuple):
    """A record that stays as it is, because it is not authentic or cannot be read."""

    place: Place
    says: str


def flaw_of(place: Place, wrong: PermanentError | UnknownKek) -> Flaw:
    """Return a record's flaw, by what reading it has raised."""
    return Flaw(place, wrong.detail if isinstance(wrong, PermanentError) else str(wrong))


def text(name: bytes) -> str:
    """Decode a name; what is not UTF-8 was not written by a worker, and is shown as such."""
    return name.decode(errors="replace")


class StoreReader:
    """Reads; every method raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self.client: Any = client  # its types leave open whether replies are bytes
        self.names = names

    def types(self, project: str) -> dict[str, str]:
        """Return what type each of a project's keys is of: ``none`` where there is none."""
        pipeline = self.client.pipeline(transaction=False)
        for key in TYPES:
            pipeline.type(self.names.of(project, key))
        with store_errors():
            found = pipeline.execute()
        return {key: text(kind) for key, kind in zip(TYPES, found, strict=True)}

    def sizes(self, projects: Iterable[str]) -> list[dict[str, int]]:
        """Return how much there is of each; 0 of what is of the wrong type."""
        found: list[dict[str, int]] = []
        for page in pages(projects):
            pipeline = self.client.pipeline(transaction=False)
            for project in page:
                for key in TYPES:
                    _counting(pipeline, key)(self.names.of(project, key))
            with store_errors():
                replies = iter(pipeline.execute(raise_on_error=False))
            for _ in page:
                sizes = {key: next(replies) for key in TYPES}
                found.append({k: n if isinstance(n, int) else 0 for k, n in sizes.items()})
        return found

    def scan(self, project: str, key: str, cursor: int) -> tuple[int, list[Named]]:
        """Return one page and the cursor of the next, 0 at the end.

        What is there from the first page to the last is given, some of it twice perhaps.
        """
        name = self.names.of(project, key)
        with store_errors():
            if key in SORTED_SETS:
                cursor, members = self.client.zscan(name, cursor, count=PAGE_SIZE)
                return cursor, list(members)
            if key in LISTS:
                found = self.client.lrange(name, cursor, cursor + PAGE_SIZE - 1)
                after = cursor + PAGE_SIZE if len(found) == PAGE_SIZE else 0
                return after, [(b"%d" % at, it) for at, it in enumerate(found, cursor)]
            cursor, fields = self.client.hscan(name, cursor, count=PAGE_SIZE)
        return cursor, list(fields.items())

    def all(self, project: str, key: str) -> Iterator[list[Named]]:
        """Give all pages; as `scan` does."""
        cursor, page = self.scan(project, key, 0)
        yield page
        while cursor:
            cursor, page = self.scan(project, key, cursor)
            yield page

    def again(self, project: str, key: str, names: Sequence[bytes]) -> list[Named]:
        """Return those of these that are still there."""
        if key in LISTS:
            return self._places(project, key, names)
        reply = self._ask(project, [(key, names)], atomic=False)[0]
        return [(n, value) for n, value in zip(names, reply, strict=True) if value is not None]

    def _places(self, project: str, key: str, places: Sequence[bytes]) -> list[Named]:
        pipeline = self.client.pipeline(transaction=False)
        for place in places:
            pipeline.lindex(self.names.of(project, key), int(place))
        with store_errors():
            found = pipeline.execute()
        return [(at, it) for at, it in zip(places, found, strict=True) if it is not None]

    def fetch(
        self, project: str, wanted: Mapping[str, Iterable[str]], *, atomic: bool = False
    ) -> Fetched:
        """Return what these of a project's keys hold under these names.

        Args:
            project: whose keys.
            wanted: names by key.
            atomic: read it all at one moment.
        """
        asked = {key: list(dict.fromkeys(names)) for key, names in wanted.items()}
        questions = [(key, names) for key, names in asked.items() if names]
        replies = self._ask(project, questions, atomic=atomic)
        found: Fetched = {key: {} for key in wanted}
        for (key, names), reply in zip(questions, replies, strict=True):
            found[key] = dict(zip(names, reply, strict=True))
        return found

    def lengths(self, project: str, hash_: str, counters: Sequence[str]) -> tuple[int, list[Any]]:
        """Return how many fields a hash has, and these of the stats, at one moment."""
        pipeline = self.client.pipeline(transaction=True)
        pipeline.hlen(self.names.of(project, hash_))
        pipeline.hmget(self.names.of(project, "stats"), counters)
        with store_errors():
            length, found = pipeline.execute()
        return int(length), list(found)

    def shares(self, project: str) -> tuple[int, dict[bytes, bytes]]:
        """Return how many events are parked, and what each project is said to have of them."""
        pipeline = self.client.pipeline(transaction=True)
        pipeline.hlen(self.names.of(project, "parked"))
        pipeline.hgetall(self.names.of(project, "waiting:shares"))
        with store_errors():
            parked, shares = pipeline.execute()
        return int(parked), dict(shares)

    def _ask(
        self, project: str, questions: Sequence[tuple[str, Sequence[Any]]], *, atomic: bool
    ) -> list[Any]:
        if not questions:
            return []
        pipeline = self.client.pipeline(transaction=atomic)
        for key, names in questions:
            name = self.names.of(project, key)
            (pipeline.zmscore if key in SORTED_SETS else pipeline.hmget)(name, names)
        # What someone has put in a key's place is found in its turn, and stops no audit.
        with store_errors(of_project=True):
            replies: list[Any] = pipeline.execute()
        return replies


def _counting(pipeline: Any, key: str) -> Callable[[str], object]:  # noqa: ANN401  # the library's
    """Return what counts how much there is of one of a project's keys."""
    if key in SORTED_SETS:
        counting: Callable[[str], object] = pipeline.zcard
    else:
        counting = pipeline.llen if key in LISTS else pipeline.hlen
    return counting
