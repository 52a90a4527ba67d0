"""Stores as each layout wrote them, kept for ever: what a release must be able to carry over.

`layout_1` was filled by version 0.1 on Redis 7.0, from events over RabbitMQ: blank volumes,
snapshots, clones, replicas of every transport, a partition with three replicas, items without
encryption (and a volume that was derived from one), a volume of another project's, an image's;
and three events that wait, one of which is marked as past its deadline.

`layout_2` was filled by commit b8f3ab3, the last before releases, in the same way: thin clones,
keys of their own, a stored copy and what was made from it, two partitions, a replica of one under
another cipher; and five events that wait, one of another project's, one past its deadline.

The files of each:

- ``store.jsonl``: one key a line. What is not UTF-8 is base64.
- ``assignments.jsonl``: what a subscriber heard, in order, byte for byte.
- ``deks-sha256.json``: the digest of each DEK, by project and scope-id.
- ``keyring-for-tests-only.json``: of no other use.

They are never written anew: they are what has been written.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kmworker.store.client import Client

__all__ = ["announced", "dek_digests", "fill", "lay_keyring"]

HERE: Final = Path(__file__).parent
KEYRING: Final = "keyring-for-tests-only.json"


def fill(client: Client, layout: int, prefix: str = "km") -> None:
    """Write the store of this layout, under a prefix of its own."""
    for line in _lines(layout, "store.jsonl"):
        row = json.loads(line)
        _write(client, row["key"].replace("km", prefix, 1), row["type"], row["value"])


def announced(layout: int) -> list[bytes]:
    """Return the assignments that were announced from it."""
    return [line.encode() for line in _lines(layout, "assignments.jsonl")]


def dek_digests(layout: int) -> dict[tuple[str, str], str]:
    """Return each DEK's SHA-256 in hex, by project and scope-id."""
    text = (_folder(layout) / "deks-sha256.json").read_text()
    return {_pair(name): digest for name, digest in json.loads(text).items()}


def lay_keyring(layout: int, path: Path) -> Path:
    """Copy its keyring to where it is wanted, for its owner alone."""
    path.write_bytes((_folder(layout) / KEYRING).read_bytes())
    path.chmod(0o600)
    return path


def _folder(layout: int) -> Path:
    return HERE / f"layout_{layout}"


def _lines(layout: int, name: str) -> Iterator[str]:
    # Not by splitlines: what separates lines for Unicode does not for JSON.
    yield from (_folder(layout) / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _pair(name: str) -> tuple[str, str]:
    project, _space, scope_id = name.partition(" ")
    return project, scope_id


def _write(client: Client, key: str, kind: str, value: Any) -> None:
    untyped: Any = client
    match kind:
        case "hash":
            untyped.hset(key, mapping={field: _raw(part) for field, part in value.items()})
        case "string":
            untyped.set(key, _raw(value))
        case "set":
            untyped.sadd(key, *map(_raw, value))
        case "zset":
            untyped.zadd(key, value)
        case "stream":
            for entry, fields in value:
                untyped.xadd(key, {name: _raw(part) for name, part in fields.items()}, id=entry)
        case _:
            raise ValueError(f"no such type: {kind}")


def _raw(value: str | dict[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
