"""The store as commands see it: nothing here writes.

Nor does anything here ask whether the store may be used: one that a worker refuses is
just the one that a person has to look into.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import redis
from redis.exceptions import NoPermissionError

from kmworker.model import Place
from kmworker.store.connection import store_errors
from kmworker.store.names import Names

__all__ = ["Server", "Views", "portions", "text_of"]

PORTION: Final = 500
"""Fields in one request: enough to make round trips rare, too few to hold up the workers."""

T = TypeVar("T")


class Server(NamedTuple):
    """What answers at `store.url`."""

    name: str
    """`Redis` or `Valkey`."""
    version: str
    """Empty if this user may not see it."""


class Views:
    """Reads one installation's keys.

    Every method raises `StoreUnavailable` when the store does not answer, and `PermanentError`
    when a key is not of the type that it should be.
    """

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self.client: Any = client  # its types leave open whether replies are bytes
        self.names = names

    def server(self) -> Server:
        """Ask what this is; the first request to a store that may not be there."""
        with store_errors():
            self.client.ping()
            found: dict[str, Any] = {}
            with suppress(NoPermissionError):
                found = self.client.info("server")
        if found.get("server_name") == "valkey":
            return Server("Valkey", str(found.get("valkey_version", "")))
        return Server("Redis", str(found.get("redis_version", "")))

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
            for name in self.client.sscan_iter(self.names.top("projects"), count=PORTION):
                yield name.decode(errors="replace")

    def has_projects(self) -> bool:
        """Say whether anything was ever recorded."""
        with store_errors():
            return bool(self.client.scard(self.names.top("projects")))

    def count(self, project: str, key: str) -> int:
        """Return how many fields one of a project's hashes has."""
        with store_errors():
            return int(self.client.hlen(self.names.of(project, key)))

    def records(self, project: str, key: str, fields: Sequence[str]) -> list[bytes | None]:
        """Return these fields of one of a project's hashes, None where there is none."""
        found: list[bytes | None] = []
        with store_errors():
            for portion in portions(fields):
                found += self.client.hmget(self.names.of(project, key), portion)
        return found

    def all_records(self, project: str, key: str) -> Iterator[list[tuple[str, bytes]]]:
        """Give one of a project's hashes in portions; a field may come twice."""
        cursor: int | None = None
        while cursor != 0:
            with store_errors():
                cursor, found = self.client.hscan(
                    self.names.of(project, key), cursor or 0, count=PORTION
                )
            yield [(name.decode(errors="replace"), value) for name, value in found.items()]

    def where_is(self, places: Iterable[Place]) -> list[Place]:
        """Return those of the places where there is a record."""
        found: list[Place] = []
        for portion in portions(places):
            with store_errors():
                pipeline = self.client.pipeline(transaction=False)
                for place in portion:
                    pipeline.hexists(self.names.of(place.project, place.key), place.field)
                replies = pipeline.execute()
            found += [place for place, there in zip(portion, replies, strict=True) if there]
        return found


def portions(values: Iterable[T], size: int = PORTION) -> Iterator[list[T]]:
    """Cut into lists of at most ``size``."""
    left = iter(values)
    while portion := list(islice(left, size)):
        yield portion


def text_of(fields: dict[bytes, bytes]) -> dict[str, str]:
    """Decode a hash; what is not UTF-8 shows as such instead of stopping a person's look."""
    return {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in fields.items()
    }
