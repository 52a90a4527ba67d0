"""The DEKs themselves, as a key operator exports them, and where they must never show."""

import base64
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, Final
from uuid import uuid4

from tests.kit.outside.heard import Delivery
from tests.kit.outside.words import Item
from tests.kit.outside.worker import Site

Data = dict[str, Any]
Exports = dict[str, bytes]
"""Key-id to DEK."""

SCOPES: Final = 6
KEYS_EACH: Final = 3
AT_ONCE: Final = 4


def sample(announced: Mapping[Item, Data], rng: Random) -> list[Data]:
    """Choose keys to export: whole families, and strangers to compare them with."""
    by_scope: dict[str, dict[str, Data]] = defaultdict(dict)
    for data in announced.values():
        if data["key_id"] is None:
            continue
        by_scope[data["scope_id"]].setdefault(data["key_id"], data)
    families = [list(keys.values()) for keys in by_scope.values()]
    rng.shuffle(families)
    families.sort(key=len, reverse=True)
    chosen = families[: SCOPES // 2] + families[-(SCOPES - SCOPES // 2) :]
    return [data for family in chosen for data in family[:KEYS_EACH]]


def exported(site: Site, project: str, key_id: str) -> tuple[bytes, int]:
    """Export one DEK; return it and the mode of the file it came in."""
    path = site.folder / f"dek-{uuid4().hex}"
    site.run("key", "export", key_id, "--project", project, "--output", str(path))
    dek, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    path.unlink()
    return dek, mode


def exports(site: Site, chosen: list[Data]) -> tuple[Exports, list[str]]:
    """Export all of these, and tell what is wrong with each by itself."""

    def export(data: Data) -> tuple[bytes, int]:
        return exported(site, data["project_id"], data["key_id"])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(export, chosen))
    problems = [
        problem
        for data, (dek, mode) in zip(chosen, results, strict=True)
        for problem in _file_problems(data, dek, mode)
    ]
    deks = {data["key_id"]: dek for data, (dek, _) in zip(chosen, results, strict=True)}
    return deks, problems


def sharing_problems(chosen: list[Data], deks: Exports) -> Iterator[str]:
    """One scope, one DEK; another scope, another DEK."""
    of_scope: dict[str, bytes] = {}
    for data in chosen:
        dek = of_scope.setdefault(data["scope_id"], deks[data["key_id"]])
        if dek != deks[data["key_id"]]:
            yield f"key {data['key_id']} has another DEK than the rest of its scope"
    if len(set(of_scope.values())) != len(of_scope):
        yield "two scopes have one DEK"


def leak_problems(site: Site, deks: Exports, deliveries: list[Delivery]) -> Iterator[str]:
    """Look for the exported DEKs, in any spelling, everywhere a stranger could look."""
    needles = {spelling: key_id for key_id, dek in deks.items() for spelling in spellings(dek)}
    for place, content in _places(site, deliveries):
        for spelling, key_id in needles.items():
            if spelling in content:
                yield f"the DEK of {key_id} is readable in {place}"


def spellings(dek: bytes) -> Iterator[bytes]:
    yield dek
    yield dek.hex().encode()
    yield dek.hex().upper().encode()
    yield base64.b64encode(dek).rstrip(b"=")
    yield base64.urlsafe_b64encode(dek).rstrip(b"=")
    yield repr(dek)[2:-1].encode()


def _file_problems(data: Data, dek: bytes, mode: int) -> Iterator[str]:
    if mode != 0o600:
        yield f"key {data['key_id']} was exported into a file of mode {mode:o}"
    if len(dek) * 8 != data["encryption"]["key_bits"]:
        yield f"key {data['key_id']} has {len(dek)} bytes for {data['encryption']}"


def _places(site: Site, deliveries: list[Delivery]) -> Iterator[tuple[str, bytes]]:
    yield from site.reader.everything("*")
    yield from site.logs()
    for delivery in deliveries:
        text = f"{delivery.routing_key}\n{delivery.headers}".encode(errors="replace")
        yield delivery.routing_key, delivery.body + b"\n" + text
