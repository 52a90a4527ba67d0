"""The store as commands see it: nothing here writes.

Nor does anything here ask whether the store may be used: one that a worker refuses is
just the one that a person has to look into.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any, Final, NamedTuple, TypeVar

import redis
from redis.exceptions import NoPermissionError

from kmworker.domain.model import Place
from kmworker.store.connection import store_errors
from kmworker.store.names import Names

__all__ = ["Server", "Views", "finite", "pages", "text_of"]

PAGE_SIZE: Final = 500
"""Fields in one request: enough to make round trips rare, too few to hold up the workers."""
# What people and programs can still tell apart as a whole number or a moment (2 to the 53rd).
MAX_NUMBER: Final = float(2**53)

DUE_PAGE_SIZE: Final = 5000
"""Projects in one look at an index: names alone, a few milliseconds of the server's time."""

T = TypeVar("T")


class Server(NamedTuple):
    """What answers at `store.url`."""

    name: str
    """`Redis` or `Valkey`."""
    version: str
    """Empty if this user may not see it."""


class Views:
    """Reads one installation's keys.

    Every method raises `StoreUnavailable` when the store does not answer, or refuses to.
    """

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self.client: Any = client  # its types leave open whether replies are bytes
        self.names = names

    def server(self) -> Server:
        """Ask what this is; the first request to a store that may not be there."""
        with store_errors():
            self.client.ping()
            try:
                found: dict[str, Any] = self.client.info("server")
            except NoPermissionError:
                return self._greeted()
        if found.get("server_name") == "valkey":
            return Server("Valkey", str(found.get("valkey_version", "")))
        return Server("Redis", str(found.get("redis_version", "")))

    def _greeted(self) -> Server:
        """Return what the server says of itself to everybody, also to whom it refuses INFO."""
        said: Any = self.client.execute_command("HELLO")
        pairs = said if isinstance(said, dict) else dict(zip(said[::2], said[1::2], strict=True))
        found = {_text(name): _text(value) for name, value in pairs.items()}
        return Server(found.get("server", "redis").capitalize(), found.get("version", ""))

    def clock_s(self) -> float:
        """Return the store's time, Unix seconds."""
        with store_errors():
            seconds, microseconds = self.client.time()
        return float(seconds) + float(microseconds) / 1e6

    def keyring(self) -> dict[str, str]:
        """Return what the store remembers of its keyring; empty before the first worker."""
        return self.fields("keyring")

    def fields(self, key: str) -> dict[str, str]:
        """Return a hash that belongs to no project."""
        with store_errors():
            return text_of(self.client.hgetall(self.names.top(key)))

    def field(self, key: str, name: str) -> str | None:
        """Return one field of a hash that belongs to no project, None where there is none."""
        with store_errors():
            value = self.client.hget(self.names.top(key), name)
        return None if value is None else str(value, errors="replace")

    def projects(self) -> Iterator[str]:
        """Give every project that has or had a record."""
        with store_errors():
            for name in self.client.sscan_iter(self.names.top("projects"), count=PAGE_SIZE):
                yield name.decode(errors="replace")

    def projects_waiting(self) -> Iterator[list[str]]:
        """Give, in pages, each project where events wait, and perhaps some where none does.

        By the index of what is to be done in waiting rooms. Projects move in it meanwhile, so
        one that takes several looks is read until nothing new is seen.
        """
        seen: set[str] = set()
        while True:
            looks = new = 0
            for names in self._due():
                unseen = names - seen
                seen |= unseen
                looks, new = looks + 1, new + len(unseen)
                yield from pages(sorted(unseen))
            if looks == 1 or not new:
                return

    def _due(self) -> Iterator[set[str]]:
        for first in count(0, DUE_PAGE_SIZE):
            last = first + DUE_PAGE_SIZE - 1
            with store_errors():
                found = self.client.zrange(self.names.top("due"), first, last)
            yield {name.decode(errors="replace") for name in found}
            if len(found) < DUE_PAGE_SIZE:
                return

    def has_projects(self) -> bool:
        """Return whether anything was ever recorded."""
        with store_errors():
            return bool(self.client.scard(self.names.top("projects")))

    def has_project(self, project: str) -> bool:
        """Return whether a project has an assignment or an event that waits."""
        with store_errors():
            return bool(self.client.exists(*self.names.all_of(project, "items", "waiting")))

    def count(self, project: str, key: str) -> int:
        """Return how many fields one of a project's hashes has."""
        with store_errors():
            return int(self.client.hlen(self.names.of(project, key)))

    def records(self, project: str, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Return these fields of one of a project's hashes, None where there is none."""
        found: list[bytes | None] = []
        with store_errors():
            for page in pages(fields):
                found += self.client.hmget(self.names.of(project, key), page)
        return found

    def all_records(self, project: str, key: str) -> Iterator[list[tuple[str, bytes]]]:
        """Give one of a project's hashes in pages; a field may come twice."""
        cursor: int | None = None
        while cursor != 0:
            with store_errors():
                cursor, found = self.client.hscan(
                    self.names.of(project, key), cursor or 0, count=PAGE_SIZE
                )
            yield [(name.decode(errors="replace"), value) for name, value in found.items()]

    def where_is(self, places: Iterable[Place]) -> list[Place]:
        """Return those of the places where there is a record."""
        found: list[Place] = []
        for page in pages(places):
            with store_errors():
                pipeline = self.client.pipeline(transaction=False)
                for place in page:
                    pipeline.hexists(self.names.of(place.project, place.key), place.field)
                replies = pipeline.execute()
            found += [place for place, there in zip(page, replies, strict=True) if there]
        return found


def pages(values: Iterable[T], size: int = PAGE_SIZE) -> Iterator[list[T]]:
    """Cut into lists of at most ``size``."""
    left = iter(values)
    while page := list(islice(left, size)):
        yield page


def finite(number: float) -> float:
    """Return a number that a report or score holds; 0 for what no clock or counter says."""
    number = float(number)
    return number if abs(number) < MAX_NUMBER else 0.0


def text_of(fields: dict[bytes, bytes]) -> dict[str, str]:
    """Decode a hash; what is not UTF-8 shows as such instead of stopping a person's look."""
    return {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in fields.items()
    }


def _text(word: object) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
