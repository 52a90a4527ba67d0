"""A dashboard's view of Redis: plain commands on the keys that the contract opens.

What is closed to dashboards is looked at as the administrator.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import redis

from tests.kit.checker.contents import Contents, read_contents

Fields = dict[str, str]
PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one installation's keys by the names that the contract gives them."""

    dashboard: "redis.Redis"
    admin: "redis.Redis"
    prefix: str

    @classmethod
    def of(cls, url: str, admins_url: str, prefix: str) -> "Reader":
        return cls(redis.Redis.from_url(url), redis.Redis.from_url(admins_url), prefix)

    def fields(self, key: str) -> Fields:
        """A hash outside all projects, e.g. `totals`."""
        return _text(self._command("HGETALL", f"{self.prefix}:{key}"))

    def table(self, project: str, table: str) -> Fields:
        """A project's hash, e.g. `items`; it may be large, so it is read in pages."""
        name = f"{self.prefix}:{{{project}}}:{table}"
        return _text(dict(self.dashboard.hscan_iter(name, count=PAGE_SIZE)))

    def records(self, project: str, table: str) -> dict[str, dict[str, Any]]:
        """A project's hash of JSON records."""
        return {name: json.loads(text) for name, text in self.table(project, table).items()}

    def contents(self, projects: Iterable[str]) -> dict[str, Contents]:
        """All that the checker looks at, as the administrator sees it."""
        return read_contents(self.admin, self.prefix, projects)

    def members(self, key: str) -> set[str]:
        found = self.dashboard.sscan_iter(f"{self.prefix}:{key}", count=PAGE_SIZE)
        return {member.decode() for member in found}

    def stream(self, key: str) -> list[Fields]:
        entries = self._command("XRANGE", f"{self.prefix}:{key}", "-", "+")
        return [_text(fields) for _, fields in entries]

    def ttl_s(self, key: str) -> int:
        return cast("int", self._command("TTL", f"{self.prefix}:{key}"))

    def secret(self, project: str, table: str) -> dict[str, bytes]:
        """One of the closed hashes, which only the administrator opens."""
        found = self._looked("HGETALL", f"{self.prefix}secret:{{{project}}}:{table}")
        return {name.decode(): value for name, value in found.items()}

    def key_servers(self) -> dict[str, Fields]:
        """What each key server reports, by its id."""
        return self._reports("keyservers", "keyserver")

    def workers(self) -> dict[str, Fields]:
        return self._reports("workers", "worker")

    def _reports(self, index: str, kind: str) -> dict[str, Fields]:
        ids = (found.decode() for found in self._command("ZRANGE", f"{self.prefix}:{index}", 0, -1))
        return {name: self.fields(f"{kind}:{name}") for name in ids}

    def everything(self, pattern: str) -> Iterator[tuple[str, bytes]]:
        """Every key that matches, and all that is in it, as the administrator sees it."""
        for key in self.admin.scan_iter(match=f"{self.prefix}{pattern}", count=500):
            yield key.decode(), key + b"\n" + self._content(key)

    def _content(self, key: bytes) -> bytes:
        kind = cast("bytes", self._looked("TYPE", key)).decode()
        arguments: dict[str, tuple[str | int, ...]] = {
            "string": ("GET",),
            "hash": ("HGETALL",),
            "set": ("SMEMBERS",),
            "list": ("LRANGE", 0, -1),
            "zset": ("ZRANGE", 0, -1),
            "stream": ("XRANGE", "-", "+"),
            # It was there when the scan saw it.
            "none": ("GET",),
        }
        name, *rest = arguments[kind]
        return b"\n".join(_flat(self._looked(str(name), key, *rest)))

    def _command(self, *words: str | int | bytes) -> Any:
        return cast("Any", self.dashboard.execute_command(*words))

    def _looked(self, *words: str | int | bytes) -> Any:
        return cast("Any", self.admin.execute_command(*words))


def _text(fields: dict[bytes, bytes]) -> Fields:
    return {name.decode(): value.decode() for name, value in fields.items()}


def _flat(value: Any) -> Iterator[bytes]:
    """All byte strings in a reply, however it is nested."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(name)
            yield from _flat(inner)
    elif isinstance(value, (list, tuple, set)):
        for inner in value:
            yield from _flat(inner)
