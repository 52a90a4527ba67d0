"""What must be true of a store by itself, whoever filled it: each thing that is not, in words.

Nothing here is the product's: what `kmworker verify` overlooks is to be seen. Seals and wrapped
DEKs are looked at from outside only; whether they open is for whoever holds the keyring.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from tests.kit.checker.contents import Contents, Record, Table

SEAL: Final = re.compile(rb',"seal":"v2\.(?P<kek_id>[^".]+)\.[0-9a-f]{32,64}"\}\Z')
FIELDS: Final = {
    "items": {"data", "state"},
    "keys": {"scope_id", "dek_id", "state", "cloned_from", "created_at", "version"},
    "scopes": {
        "root", "dek_id", "cipher", "key_bits", "kek_id", "derived_from", "created_at",
    },
}  # fmt: skip
DISPOSITIONS: Final = ("create", "clone", "reuse", "none")

Store = Mapping[str, Contents]
"""What is stored, by project: the sources of items may be in another one."""


def problems(store: Store) -> Iterator[str]:
    """Everything that is wrong with a store."""
    for project, contents in store.items():
        for found in (
            *seal_problems(contents),
            *descent_problems(contents, store),
            *key_problems(contents, store),
            *index_problems(contents),
        ):
            yield f"{project}: {found}"


def seal_problems(contents: Contents) -> Iterator[str]:
    """What is wrong with how records are written."""
    for table, wanted in FIELDS.items():
        for name, text in contents.sealed[table].items():
            record: Record = getattr(contents, table)[name.decode()]
            if record.keys() != wanted | {"seal"}:
                yield f"{table} {name!r} has the fields {sorted(record)}"
            elif (seal := SEAL.search(text)) is None:
                yield f"{table} {name!r} does not end in a seal"
            elif table == "scopes" and record["kek_id"].encode() != seal["kek_id"]:
                yield f"{table} {name!r} is wrapped and sealed by different keys"
            elif table != "scopes" and record["state"] != "active":
                yield f"{table} {name!r} is {record['state']}"


def descent_problems(contents: Contents, store: Store) -> Iterator[str]:
    """What is wrong with how items came by their key-ids."""
    for ref, record in contents.items.items():
        data = record["data"]
        if f"{data['item']['kind']}:{data['item']['id']}" != ref:
            yield f"{ref} is about {data['item']}"
        yield from (f"{ref}: {it}" for it in _descent_problems(ref, data, contents, store))


def key_problems(contents: Contents, store: Store) -> Iterator[str]:
    """What is wrong with the records of key-ids and scopes, beside the items that have them."""
    roots: Table = {}
    owners: Table = {}
    for ref, record in contents.items.items():
        data = record["data"]
        if data["disposition"] == "create":
            roots[data["scope_id"]] = data
        if data["disposition"] in {"create", "clone"}:
            if data["key_id"] in owners:
                yield f"{ref} is given the key-id of another item"
            owners[data["key_id"]] = data
    yield from differences("keys", contents.keys, owners)
    yield from differences("scopes", contents.scopes, roots)
    yield from differences("wrapped DEKs", contents.deks, roots)
    if len({scope["dek_id"] for scope in contents.scopes.values()}) != len(contents.scopes):
        yield "two scopes have one DEK"
    for key_id in contents.keys.keys() & owners.keys():
        yield from _key_problems(owners[key_id], contents.keys[key_id], contents, store)
    for scope_id in contents.scopes.keys() & roots.keys():
        yield from _root_problems(roots[scope_id], contents.scopes[scope_id], store)


def index_problems(contents: Contents) -> Iterator[str]:
    """What counters and indexes say otherwise than the records that they count."""
    data = [record["data"] for record in contents.items.values()]
    made = Counter(it["disposition"] for it in data)
    counted = {name: contents.stats.get(name, 0) for name in DISPOSITIONS}
    if counted != {name: made[name] for name in DISPOSITIONS}:
        yield f"stats {counted}, items {dict(made)}"
    holders = Counter(it["key_id"] for it in data if it["key_id"])
    if Counter(contents.holders) != holders:
        yield f"holders {contents.holders}, items {dict(holders)}"
    lineage = {
        f"{record['data']['scope_id']} {ref}": 0
        for ref, record in contents.items.items()
        if record["data"]["scope_id"]
    }
    if contents.lineage != lineage:
        yield f"lineage {dict(contents.lineage.items() ^ lineage.items())}"
    sources = {f"{record['source']} {entry}" for entry, record in contents.parked.items()}
    parked = contents.parked.keys()
    if not (parked == contents.waiting.keys() == contents.deadlines):
        yield "the waiting room's indexes"
    if sources != contents.sources:
        yield "the sources that are waited for"
    shares: dict[str, dict[str, int]] = {}
    for entry, record in contents.parked.items():
        share = shares.setdefault(record["project"], {"events": 0, "bytes": 0})
        share["events"] += 1
        share["bytes"] += contents.sizes[entry]
    if contents.shares != shares:
        yield f"shares {contents.shares}, parked {shares}"
    if contents.stats.get("waiting", 0) != len(parked):
        yield f"waiting {contents.stats.get('waiting')}, not {len(parked)}"


def differences(what: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """Name what is missing, and what is there beside."""
    if found.keys() != wanted.keys():
        missing, beside = wanted.keys() - found.keys(), found.keys() - wanted.keys()
        yield f"{what}: {sorted(missing)} missing, {sorted(beside)} too many"


def wrong_fields(what: str, record: Record, wanted: Record) -> Iterator[str]:
    """Name the fields that are not as they should be."""
    for name, value in wanted.items():
        if record.get(name) != value:
            yield f"{what}: {name} is {record.get(name)!r}, not {value!r}"


def not_a_time(what: str, text: object) -> Iterator[str]:
    """Name what is no point in time."""
    try:
        datetime.fromisoformat(str(text))
    except ValueError:
        yield f"{what}: {text!r} is not a time"


def source_of(data: Record, store: Store) -> Record | None:
    """Return what an item's source was announced with, if it is on record."""
    source = data["source"]
    if source is None or source["project_id"] not in store:
        return None
    record = store[source["project_id"]].items.get(f"{source['kind']}:{source['id']}")
    return None if record is None else record["data"]


def _descent_problems(ref: str, data: Record, contents: Contents, store: Store) -> Iterator[str]:
    """Look where an item's key-id and scope come from."""
    wanted: Record = {"project_id": contents.project}
    source = source_of(data, store)
    if data["data_action"] in {"reencrypt", "decrypt"}:
        wanted["reencrypt_from"] = source and source["key_id"]
    else:
        wanted["reencrypt_from"] = None
    match data["disposition"]:
        case "none":
            wanted |= dict.fromkeys(("key_id", "scope_id", "encryption"))
        case "create":
            if contents.scopes.get(data["scope_id"], {}).get("root") != ref:
                yield "is not the root of its scope"
        case "reuse" | "clone" if source is not None:
            shared = ("project_id", "scope_id", "encryption")
            wanted |= {name: source[name] for name in shared}
            if (source["key_id"] == data["key_id"]) is not (data["disposition"] == "reuse"):
                yield f"is a {data['disposition']} by key-id {data['key_id']}"
        case other:
            yield f"is {other}, and its source is not on record"
    yield from wrong_fields("its data", data, wanted)
    key_scope = contents.keys.get(data["key_id"], {}).get("scope_id")
    if key_scope != data["scope_id"]:
        yield f"its key-id is of scope {key_scope}"


def _key_problems(owner: Record, key: Record, contents: Contents, store: Store) -> Iterator[str]:
    """What is wrong with a key's record, beside the item that it was made for."""
    what = f"key {owner['key_id']}"
    source = source_of(owner, store) if owner["disposition"] == "clone" else None
    wanted = {
        "scope_id": owner["scope_id"],
        "dek_id": contents.scopes.get(owner["scope_id"], {}).get("dek_id"),
        "cloned_from": source and source["key_id"],
    }
    yield from wrong_fields(what, key, wanted)
    yield from not_a_time(what, key["created_at"])
    if not isinstance(key["version"], int):
        yield f"{what}: version is {key['version']!r}"


def _root_problems(root: Record, scope: Record, store: Store) -> Iterator[str]:
    """What is wrong with a scope's record, beside the item that it began with."""
    what = f"scope {root['scope_id']}"
    source = source_of(root, store) if root["data_action"] == "reencrypt" else None
    wanted = {**root["encryption"], "root": f"{root['item']['kind']}:{root['item']['id']}"}
    yield from wrong_fields(what, scope, wanted)
    yield from not_a_time(what, scope["created_at"])
    # What else it names there is not said.
    from_scope = "None" if source is None else str(source["scope_id"])
    if from_scope not in str(scope["derived_from"]):
        yield f"{what} is derived from {scope['derived_from']}, not from {from_scope}"
    if UUID(root["scope_id"]).version != 5:
        yield f"{what} is no UUIDv5"
