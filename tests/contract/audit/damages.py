"""Everything that can be damaged in a store, and what exactly is to be found then.

Each damage is done to the store of `fill` by someone who can write to Redis; where a seal
has to fit, by a fault of ours.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kmworker.crypto import KeyringVault
from tests.contract.audit.filling import SHARED, Brief
from tests.contract.stand import Stand

__all__ = ["CONTRADICTIONS", "INDEXES", "LOSSES", "RECORDS", "Damage", "Scene"]

P = "p1"
NOWHERE = "volume:nowhere"


@dataclass(frozen=True, slots=True)
class Scene:
    """A filled store, and another installation's vault."""

    stand: Stand
    stranger: KeyringVault

    @property
    def raw(self) -> Any:
        """A client for mischief."""
        return self.stand.raw

    def open(self, name: str, project: str = P) -> str:
        """Return the name of one of a project's open keys."""
        return self.stand.key(project, name)

    def secret(self, name: str, project: str = P) -> str:
        """Return the name of one of a project's closed keys."""
        return self.stand.secret(project, name)

    def data(self, ref: str, project: str = P) -> dict[str, Any]:
        """Return what an item's record says."""
        data: dict[str, Any] = json.loads(self.raw.hget(self.open("items", project), ref))["data"]
        return data

    def key_id(self, ref: str) -> str:
        """Return an item's key-id."""
        return str(self.data(ref)["key_id"])

    def scope_id(self, ref: str) -> str:
        """Return an item's scope-id."""
        return str(self.data(ref)["scope_id"])

    def member(self, ref: str) -> str:
        """Return an item's member of the lineage."""
        return f"{self.scope_id(ref)} {ref}"

    def entry(self, item: str) -> str:
        """Return the entry under which an item's event waits."""
        found = self.raw.hgetall(self.open("waiting")).items()
        (entry,) = (name for name, text in found if json.loads(text)["item"] == item)
        return str(entry.decode())

    def forge(self, key: str, field: str, old: bytes, new: bytes) -> None:
        """Change a record past its seal."""
        record = self.raw.hget(self.open(key), field)
        assert old in record
        self.raw.hset(self.open(key), field, record.replace(old, new, 1))

    def reseal(self, key: str, field: str, project: str = P, **changes: Any) -> None:
        """Change a record and seal it again."""
        self.stand.rewrite(project, key, field, **changes)

    def resay(self, ref: str, **changes: Any) -> None:
        """Change what an item's record says and seal it again."""
        self.stand.rewrite(P, "items", ref, data={**self.data(ref), **changes})

    def lose(self, key: str, field: str) -> str:
        """Delete a record; return its name."""
        assert self.raw.hdel(key, field) == 1
        return field

    def spoil(self, key: str) -> None:
        """Put text in a key's place."""
        self.raw.delete(key)
        self.raw.set(key, "text")


Damage = Callable[[Scene], list[Brief]]
"""Does damage and returns what is to be found."""


def at(problem: str, key: str, field: str, project: str = P) -> list[Brief]:
    """Return one finding."""
    return [(problem, project, key, field)]


# --- records that were written to -------------------------------------------------------


def forged_item(it: Scene) -> list[Brief]:
    it.forge("items", "volume:v2", b'"node":null', b'"node":"me"')
    return at("seal-broken", "items", "volume:v2")


def item_with_anothers_key(it: Scene) -> list[Brief]:
    it.forge("items", "volume:v2", it.key_id("volume:v2").encode(), it.key_id("volume:v4").encode())
    return at("seal-broken", "items", "volume:v2")


def forged_key(it: Scene) -> list[Brief]:
    key_id = it.key_id("volume:v1")
    it.forge("keys", key_id, b'"state":"active"', b'"state":"suspended"')
    return at("seal-broken", "keys", key_id)


def forged_scope(it: Scene) -> list[Brief]:
    scope_id = it.scope_id("volume:v1")
    it.forge("scopes", scope_id, b'"key_bits":512', b'"key_bits":256')
    return at("seal-broken", "scopes", scope_id)


def moved_item(it: Scene) -> list[Brief]:
    raw, items = it.raw, it.open("items")
    raw.hset(items, "volume:v4", raw.hget(items, "volume:v2"))
    return at("seal-broken", "items", "volume:v4")


def no_item(it: Scene) -> list[Brief]:
    it.raw.hset(it.open("items"), b"\xff{}", "{}")
    return at("seal-broken", "items", "\ufffd{}")


def replaced_dek(it: Scene) -> list[Brief]:
    raw, deks = it.raw, it.secret("deks")
    mine = it.scope_id("volume:v1")
    raw.hset(deks, mine, raw.hget(deks, it.scope_id("volume:v4")))
    return at("dek-broken", "deks", mine)


def edited_dek(it: Scene) -> list[Brief]:
    raw, deks, scope_id = it.raw, it.secret("deks"), it.scope_id("volume:v1")
    blob = bytearray(raw.hget(deks, scope_id))
    blob[-1] ^= 1
    raw.hset(deks, scope_id, bytes(blob))
    return at("dek-broken", "deks", scope_id)


def short_dek(it: Scene) -> list[Brief]:
    raw, deks, scope_id = it.raw, it.secret("deks"), it.scope_id("volume:v1")
    raw.hset(deks, scope_id, raw.hget(deks, it.scope_id("volume:small")))
    return at("dek-broken", "deks", scope_id)


def forged_waiting_event(it: Scene) -> list[Brief]:
    entry = it.entry("volume:hoping")
    record = it.raw.hget(it.secret("parked"), entry)
    it.raw.hset(it.secret("parked"), entry, record.replace(b"hoping", b"robbed"))
    return at("seal-broken", "parked", entry)


def strangers_item(it: Scene) -> list[Brief]:
    it.reseal("items", "volume:v2", vault=it.stranger)
    return at("unknown-kek", "items", "volume:v2")


def unreadable_key(it: Scene) -> list[Brief]:
    key_id = it.key_id("volume:v1")
    it.reseal("keys", key_id, state="resting")
    return at("record-wrong", "keys", key_id)


def event_under_another_name(it: Scene) -> list[Brief]:
    entry = it.entry("volume:hoping")
    record = json.loads(it.raw.hget(it.secret("parked"), entry))
    del record["seal"]
    from kmworker.model import Place  # noqa: PLC0415

    body = json.dumps({**record, "source": "volume:v77"}, separators=(",", ":")).encode()[:-1]
    sealed = it.stand.vault.seal(Place(P, "parked", entry), body)
    it.raw.hset(it.secret("parked"), entry, sealed)
    it.raw.zrem(it.open("waiting:sources"), f"{NOWHERE} {entry}")
    return at("record-wrong", "parked", entry)


RECORDS: list[Damage] = [
    forged_item, item_with_anothers_key, forged_key, forged_scope, moved_item, no_item,
    replaced_dek, edited_dek, short_dek, forged_waiting_event, strangers_item, unreadable_key,
    event_under_another_name,
]  # fmt: skip


# --- records that are gone --------------------------------------------------------------


def lost_item(it: Scene) -> list[Brief]:
    member, key_id = it.member("volume:v2"), it.key_id("volume:v2")
    it.lose(it.open("items"), "volume:v2")
    # Nothing but the key-id and the counters know of it.
    return sorted(
        at("lineage-wrong", "lineage", member)
        + at("holders-wrong", "holders", key_id)
        + at("key-unused", "keys", key_id)
        + at("stats-wrong", "stats", "clone")
        + at("totals-wrong", "totals", "items", project="")
    )


def lost_root(it: Scene) -> list[Brief]:
    member, key_id = it.member("volume:v1"), it.key_id("volume:v1")
    it.lose(it.open("items"), "volume:v1")
    return sorted(
        at("item-missing", "items", "volume:v1")
        + at("lineage-wrong", "lineage", member)
        + at("holders-wrong", "holders", key_id)
        + at("stats-wrong", "stats", "create")
        + at("totals-wrong", "totals", "items", project="")
    )


def lost_key(it: Scene) -> list[Brief]:
    it.raw.delete(it.stand.top("totals"))
    return at("key-missing", "keys", it.lose(it.open("keys"), it.key_id("volume:v1")))


def lost_scope(it: Scene) -> list[Brief]:
    it.raw.delete(it.stand.top("totals"))
    return at("scope-missing", "scopes", it.lose(it.open("scopes"), it.scope_id("volume:v1")))


def lost_dek(it: Scene) -> list[Brief]:
    return at("dek-missing", "deks", it.lose(it.secret("deks"), it.scope_id("volume:v1")))


def lost_waiting_event(it: Scene) -> list[Brief]:
    entry = it.lose(it.secret("parked"), it.entry("volume:hoping"))
    return sorted(at("parked-missing", "parked", entry) + at("stats-wrong", "stats", "waiting"))


def key_too_many(it: Scene) -> list[Brief]:
    it.raw.hset(it.open("keys"), "k", "{}")
    return sorted(at("key-unused", "keys", "k") + at("seal-broken", "keys", "k"))


def dek_too_many(it: Scene) -> list[Brief]:
    it.raw.hset(it.secret("deks"), "s", b"blob")
    return at("dek-unused", "deks", "s")


def mark_too_many(it: Scene) -> list[Brief]:
    it.raw.hset(it.secret("expired"), "e", "1")
    return at("expired-unused", "expired", "e")


LOSSES: list[Damage] = [
    lost_item, lost_root, lost_key, lost_scope, lost_dek, lost_waiting_event, key_too_many,
    dek_too_many, mark_too_many,
]  # fmt: skip


# --- records that contradict each other, all well sealed --------------------------------


def key_of_another_scope(it: Scene) -> list[Brief]:
    it.reseal("keys", it.key_id("volume:v4"), scope_id=it.scope_id("volume:small"))
    return at("contradiction", "items", "volume:v4")


def scope_of_another_cipher(it: Scene) -> list[Brief]:
    scope_id = it.scope_id("volume:v4")
    it.reseal("scopes", scope_id, cipher="another")
    # Its name is bound to the DEK as well.
    return at("contradiction", "items", "volume:v4") + at("dek-broken", "deks", scope_id)


def another_items_data(it: Scene) -> list[Brief]:
    it.reseal("items", "volume:v4", data=it.data("volume:small"))
    return at("contradiction", "items", "volume:v4")


def clone_of_nothing(it: Scene) -> list[Brief]:
    key_id = it.key_id("volume:v2")
    it.reseal("keys", key_id, cloned_from=None)
    return at("contradiction", "keys", key_id)


def clone_across_scopes(it: Scene) -> list[Brief]:
    key_id = it.key_id("volume:v2")
    it.reseal("keys", key_id, cloned_from=it.key_id("volume:v4"))
    return at("contradiction", "keys", key_id)


def created_clone(it: Scene) -> list[Brief]:
    key_id = it.key_id("volume:v1")
    it.reseal("keys", key_id, cloned_from=it.key_id("volume:v2"))
    return at("contradiction", "keys", key_id)


def scope_of_another_root(it: Scene) -> list[Brief]:
    scope_id = it.scope_id("volume:v4")
    it.reseal("scopes", scope_id, root="volume:small")
    return at("contradiction", "scopes", scope_id)


def scope_of_another_origin(it: Scene) -> list[Brief]:
    scope_id = it.scope_id("volume:v3")
    it.reseal("scopes", scope_id, derived_from=None)
    return at("contradiction", "scopes", scope_id)


def scope_of_another_origin_abroad(it: Scene) -> list[Brief]:
    scope_id = str(it.data("volume:abroad", "p2")["scope_id"])
    it.reseal("scopes", scope_id, project="p2", derived_from=it.scope_id("volume:v4"))
    return at("contradiction", "scopes", scope_id, project="p2")


def reencrypted_from_another_key(it: Scene) -> list[Brief]:
    it.resay("volume:v3", reencrypt_from=it.key_id("volume:v2"))
    return at("contradiction", "items", "volume:v3")


def unencrypted_with_a_key(it: Scene) -> list[Brief]:
    it.resay("volume:bare", reencrypt_from=it.key_id("volume:v2"))
    return at("contradiction", "items", "volume:bare")


def encrypted_without_a_key(it: Scene) -> list[Brief]:
    it.resay("volume:v4", encryption=None)
    return at("contradiction", "items", "volume:v4")


def copied_from_nothing(it: Scene) -> list[Brief]:
    it.resay("volume:v1", data_action="encrypt")
    return at("contradiction", "items", "volume:v1")


def reuse_of_another_key(it: Scene) -> list[Brief]:
    """The snapshot says that it has the clone's key-id, which is of the same scope."""
    it.resay("snapshot:s1", key_id=it.key_id("volume:v2"))
    holders = it.open("holders")
    it.raw.hset(holders, it.key_id("volume:v1"), 1)
    it.raw.hset(holders, it.key_id("volume:v2"), 2)
    # Whatever was made from it says otherwise.
    return sorted(
        at("contradiction", "items", "snapshot:s1")
        + at("contradiction", "items", "volume:v2")
        + at("contradiction", "items", "volume:v3")
        + at("contradiction", "items", "volume:abroad", project="p2")
    )


def clone_of_another_scope(it: Scene) -> list[Brief]:
    it.resay("volume:v2", source={"kind": "volume", "id": "v4", "project_id": P})
    return at("contradiction", "items", "volume:v2")


def reuse_without_a_source(it: Scene) -> list[Brief]:
    it.resay("snapshot:s1", source=None)
    return at("contradiction", "items", "snapshot:s1")


def source_that_never_was(it: Scene) -> list[Brief]:
    it.resay("volume:bare", source={"kind": "volume", "id": "ghost", "project_id": P})
    return at("item-missing", "items", "volume:ghost")


CONTRADICTIONS: list[Damage] = [
    key_of_another_scope, scope_of_another_cipher, another_items_data, clone_of_nothing,
    clone_across_scopes, created_clone, scope_of_another_root, scope_of_another_origin,
    scope_of_another_origin_abroad, reencrypted_from_another_key, unencrypted_with_a_key,
    encrypted_without_a_key, copied_from_nothing, reuse_of_another_key, clone_of_another_scope,
    reuse_without_a_source, source_that_never_was,
]  # fmt: skip


# --- indexes and counters: what a repair brings back exactly ----------------------------


def member_gone(it: Scene) -> list[Brief]:
    it.raw.zrem(it.open("lineage"), member := it.member("volume:v2"))
    return at("lineage-wrong", "lineage", member)


def member_with_a_score(it: Scene) -> list[Brief]:
    it.raw.zadd(it.open("lineage"), {(member := it.member("volume:v2")): 5})
    return at("lineage-wrong", "lineage", member)


def member_of_another_scope(it: Scene) -> list[Brief]:
    it.raw.zadd(it.open("lineage"), {(member := f"{it.scope_id('volume:v4')} volume:v2"): 0})
    return at("lineage-wrong", "lineage", member)


def member_without_an_item(it: Scene) -> list[Brief]:
    it.raw.zadd(it.open("lineage"), {"text": 0})
    return at("lineage-wrong", "lineage", "text")


def lineage_gone(it: Scene) -> list[Brief]:
    members = it.raw.zrange(it.open("lineage", SHARED), 0, -1)
    it.raw.delete(it.open("lineage", SHARED))
    return [
        brief
        for member in sorted(members)
        for brief in at("lineage-wrong", "lineage", member.decode(), SHARED)
    ]


def holders_too_few(it: Scene) -> list[Brief]:
    it.raw.hincrby(it.open("holders"), key_id := it.key_id("volume:v1"), -1)
    return at("holders-wrong", "holders", key_id)


def holders_too_many(it: Scene) -> list[Brief]:
    it.raw.hincrby(it.open("holders"), key_id := it.key_id("volume:v1"), 7)
    return at("holders-wrong", "holders", key_id)


def holders_gone(it: Scene) -> list[Brief]:
    return at("holders-wrong", "holders", it.lose(it.open("holders"), it.key_id("volume:v1")))


def holders_of_nothing(it: Scene) -> list[Brief]:
    it.raw.hset(it.open("holders"), "k", 3)
    return at("holders-wrong", "holders", "k")


def holders_no_number(it: Scene) -> list[Brief]:
    it.raw.hset(it.open("holders"), key_id := it.key_id("volume:v1"), "many")
    return at("holders-wrong", "holders", key_id)


def holders_beyond_counting(it: Scene) -> list[Brief]:
    it.raw.hset(it.open("holders"), key_id := it.key_id("volume:v1"), str(2**63 - 1))
    return at("holders-wrong", "holders", key_id)


def stats_wrong(it: Scene) -> list[Brief]:
    it.raw.hincrby(it.open("stats"), "reuse", 2)
    return at("stats-wrong", "stats", "reuse")


def stats_gone(it: Scene) -> list[Brief]:
    it.raw.delete(it.open("stats"))
    names = ("clone", "create", "none", "reuse", "waiting")
    return [brief for name in names for brief in at("stats-wrong", "stats", name)]


def stats_no_number(it: Scene) -> list[Brief]:
    it.raw.hset(it.open("stats"), "create", "007")
    return at("stats-wrong", "stats", "create")


def stats_of_what_waits(it: Scene) -> list[Brief]:
    it.raw.hincrby(it.open("stats"), "waiting", -1)
    return at("stats-wrong", "stats", "waiting")


def waiting_gone(it: Scene) -> list[Brief]:
    return at("waiting-wrong", "waiting", it.lose(it.open("waiting"), it.entry("volume:hoping")))


def waiting_about_another(it: Scene) -> list[Brief]:
    entry = it.entry("volume:hoping")
    text = it.raw.hget(it.open("waiting"), entry)
    it.raw.hset(it.open("waiting"), entry, text.replace(b"hoping", b"robbed"))
    return at("waiting-wrong", "waiting", entry)


def waiting_for_ever(it: Scene) -> list[Brief]:
    entry = it.entry("volume:hoping")
    text = json.loads(it.raw.hget(it.open("waiting"), entry))
    # Later than its entry among the deadlines, which is the one that counts.
    spoilt = json.dumps({**text, "deadline": "9999-01-01T00:00:00Z"}, separators=(",", ":"))
    it.raw.hset(it.open("waiting"), entry, spoilt)
    return at("waiting-wrong", "waiting", entry)


def deadline_gone(it: Scene) -> list[Brief]:
    it.raw.zrem(it.open("waiting:deadlines"), entry := it.entry("volume:hoping"))
    return at("waiting-wrong", "waiting:deadlines", entry)


def source_gone(it: Scene) -> list[Brief]:
    member = f"{NOWHERE} {it.entry('volume:hoping')}"
    it.raw.zrem(it.open("waiting:sources"), member)
    return at("waiting-wrong", "waiting:sources", member)


def source_too_many(it: Scene) -> list[Brief]:
    member = f"volume:v77 {it.entry('volume:hoping')}"
    it.raw.zadd(it.open("waiting:sources"), {member: 0, "volume:v77 no-entry": 0})
    return sorted(
        at("waiting-wrong", "waiting:sources", member)
        + at("waiting-wrong", "waiting:sources", "volume:v77 no-entry")
    )


def project_unlisted(it: Scene) -> list[Brief]:
    it.raw.srem(it.stand.top("projects"), SHARED)
    return at("project-unlisted", "projects", SHARED, SHARED)


INDEXES: list[Damage] = [
    member_gone, member_with_a_score, member_of_another_scope, member_without_an_item,
    lineage_gone, holders_too_few, holders_too_many, holders_gone, holders_of_nothing,
    holders_no_number, holders_beyond_counting, stats_wrong, stats_gone, stats_no_number,
    stats_of_what_waits, waiting_gone, waiting_about_another, waiting_for_ever, deadline_gone,
    source_gone, source_too_many, project_unlisted,
]  # fmt: skip
