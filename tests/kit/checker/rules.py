"""What must be true of a store by itself, whoever filled it: each thing that is not, in words.

Nothing here is the product's: what `kmworker verify` overlooks is to be seen. Seals and wrapped
DEKs are looked at from outside only; whether they open is for whoever holds the keyring.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from tests.kit.checker.contents import Contents, Record, Table
from tests.kit.checker.counts import index_problems
from tests.kit.checker.states import DESTROYED, ITEM_STATES, KEY_STATES, lives_of, own_state

__all__ = [
    "descent_problems", "differences", "index_problems", "key_problems", "not_a_time", "problems",
    "seal_problems", "source_of", "wrong_fields",
]  # fmt: skip

SEAL: Final = re.compile(rb',"seal":"v2\.(?P<kek_id>[^".]+)\.[0-9a-f]{32,64}"\}\Z')
FIELDS: Final = {
    "items": {"data", "state"},
    "keys": {"scope_id", "dek_id", "state", "cloned_from", "created_at", "version"},
    "scopes": {
        "root", "dek_id", "cipher", "key_bits", "kek_id", "derived_from", "created_at",
    },
}  # fmt: skip
MAY_HAVE: Final = {
    "items": {
        "generation", "source_generation", "former", "released_at", "released_by", "early",
        "assigned_generation",
    },
    "keys": {"own_state", "compromised", "destroy_at", "active_until", "changed"},
    "scopes": {"generation", "compromised", "destroyed_at", "former_keks"},
}  # fmt: skip
STATES: Final = {"items": ITEM_STATES, "keys": KEY_STATES}

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
            if record.keys() - MAY_HAVE[table] != wanted | {"seal"}:
                yield f"{table} {name!r} has the fields {sorted(record)}"
            elif (seal := SEAL.search(text)) is None:
                yield f"{table} {name!r} does not end in a seal"
            elif table == "scopes" and record["kek_id"].encode() != seal["kek_id"]:
                yield f"{table} {name!r} is wrapped and sealed by different keys"
            elif table != "scopes" and record["state"] not in STATES[table]:
                yield f"{table} {name!r} is {record['state']}"


def descent_problems(contents: Contents, store: Store) -> Iterator[str]:
    """What is wrong with how items came by their key-ids."""
    for ref, record in contents.items.items():
        data = record["data"]
        if data is None:
            continue
        if f"{data['item']['kind']}:{data['item']['id']}" != ref:
            yield f"{ref} is about {data['item']}"
        yield from (f"{ref}: {it}" for it in _descent_problems(ref, record, contents, store))


def key_problems(contents: Contents, store: Store) -> Iterator[str]:
    """What is wrong with the records of key-ids and scopes, beside the items that have them."""
    roots: Table = {}
    owners: Table = {}
    for ref, record in contents.items.items():
        data = record["data"]
        if data is None:
            continue
        if data["disposition"] == "create":
            roots[data["scope_id"]] = record
        if data["disposition"] in {"create", "clone"}:
            if data["key_id"] in owners:
                yield f"{ref} is given the key-id of another item"
            owners[data["key_id"]] = record
    # Items whose names live again, and what was gone for long, have left theirs behind.
    bereft = contents.stats.get("create_forgotten", 0)
    cloned = bereft + contents.stats.get("clone_forgotten", 0)
    yield from differences("keys", contents.keys, owners, may_be_more=cloned)
    yield from differences("scopes", contents.scopes, roots, may_be_more=bereft)
    whole = [it for it, scope in contents.scopes.items() if "destroyed_at" not in scope]
    yield from differences("wrapped DEKs", contents.deks, dict.fromkeys(whole))
    if len({scope["dek_id"] for scope in contents.scopes.values()}) != len(contents.scopes):
        yield "two scopes have one DEK"
    yield from _end_problems(contents)
    for key_id in contents.keys.keys() & owners.keys():
        yield from _key_problems(owners[key_id], contents.keys[key_id], contents, store)
    for scope_id in contents.scopes.keys() & roots.keys():
        yield from _root_problems(roots[scope_id], contents.scopes[scope_id], store)


def _end_problems(contents: Contents) -> Iterator[str]:
    """Look whether each scope has ended with the last of its key-ids, and not before."""
    named = {it["scope_id"] for it in contents.keys.values() if "scope_id" in it}
    alive = {
        it["scope_id"]
        for it in contents.keys.values()
        if "scope_id" in it and own_state(it) != DESTROYED
    }
    # Of what nothing names is told elsewhere.
    for scope_id, scope in contents.scopes.items():
        if scope_id in named and ("destroyed_at" in scope) is (scope_id in alive):
            yield f"scope {scope_id} and its key-ids do not end together"


def differences(
    what: str, found: Mapping[str, Any], wanted: Mapping[str, Any], *, may_be_more: int = 0
) -> Iterator[str]:
    """Name what is missing, and what is there beside, if that is more than may be."""
    missing, beside = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if missing or len(beside) > may_be_more:
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


def source_of(data: Record, store: Store, generation: int = 0) -> Record | None:
    """Return what an item's source was announced with, if that life of it is on record."""
    record = _source_record(data, store)
    if record is None or lives_of(record).assigned != generation:
        return None
    found: Record = record["data"]
    return found


def _source_record(data: Record, store: Store) -> Record | None:
    source = data["source"]
    if source is None or source["project_id"] not in store:
        return None
    return store[source["project_id"]].items.get(f"{source['kind']}:{source['id']}")


def _descent_problems(ref: str, record: Record, contents: Contents, store: Store) -> Iterator[str]:
    """Look where an item's key-id and scope come from."""
    data = record["data"]
    wanted: Record = {"project_id": contents.project}
    source = source_of(data, store, record.get("source_generation", 0))
    if data["data_action"] not in {"reencrypt", "decrypt"}:
        wanted["reencrypt_from"] = None
    elif source is not None:
        # What is gone for long may be forgotten by now.
        wanted["reencrypt_from"] = source["key_id"]
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
        case other if _source_record(data, store) is None:
            yield f"is {other}, and its source is not on record"
        case _:
            # Another life of the source's name is.
            pass
    yield from wrong_fields("its data", data, wanted)
    key_scope = contents.keys.get(data["key_id"], {}).get("scope_id")
    if key_scope != data["scope_id"]:
        yield f"its key-id is of scope {key_scope}"


def _key_problems(record: Record, key: Record, contents: Contents, store: Store) -> Iterator[str]:
    """What is wrong with a key's record, beside the item that it was made for."""
    owner = record["data"]
    what = f"key {owner['key_id']}"
    wanted = {
        "scope_id": owner["scope_id"],
        "dek_id": contents.scopes.get(owner["scope_id"], {}).get("dek_id"),
    }
    source = source_of(owner, store, record.get("source_generation", 0))
    if owner["disposition"] != "clone":
        wanted["cloned_from"] = None
    elif source is not None:
        wanted["cloned_from"] = source["key_id"]
    yield from wrong_fields(what, key, wanted)
    yield from not_a_time(what, key["created_at"])
    is_compromised = key["state"] == "compromised" or "compromised" in key
    if is_compromised and "compromised" not in contents.scopes.get(owner["scope_id"], {}):
        yield f"{what} is compromised, and its scope is not"
    if not isinstance(key["version"], int):
        yield f"{what}: version is {key['version']!r}"


def _root_problems(record: Record, scope: Record, store: Store) -> Iterator[str]:
    """What is wrong with a scope's record, beside the item that it began with."""
    root = record["data"]
    what = f"scope {root['scope_id']}"
    source = source_of(root, store, record.get("source_generation", 0))
    wanted = {**root["encryption"], "root": f"{root['item']['kind']}:{root['item']['id']}"}
    yield from wrong_fields(what, scope, wanted)
    yield from not_a_time(what, scope["created_at"])
    # What else it names there is not said; what it was made from may be forgotten by now.
    from_scope = (
        str(source["scope_id"]) if source and root["data_action"] == "reencrypt" else "None"
    )
    is_known = root["data_action"] != "reencrypt" or source is not None
    if is_known and from_scope not in str(scope["derived_from"]):
        yield f"{what} is derived from {scope['derived_from']}, not from {from_scope}"
    if UUID(root["scope_id"]).version != 5:
        yield f"{what} is no UUIDv5"
