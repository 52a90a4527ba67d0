"""Everything that can be damaged in a store, and what exactly is to be found then.

Each damage is done to the store of `fill` by someone who can write to Redis; where a seal
has to fit, by a fault of ours. What is to be found is told from the store before the damage.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kmworker.domain.model import Place
from tests.kit.store.builders import OTHER_CUSTODY
from tests.kit.store.filling import SHARED, Brief
from tests.kit.store.stand import Stand

P = "p1"
NOWHERE = "volume:nowhere"
DISPOSITIONS = ("clone", "create", "none", "reuse")


@dataclass(frozen=True, slots=True)
class Scene:
    """A filled store."""

    stand: Stand

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

    def key_id(self, ref: str, project: str = P) -> str:
        """Return an item's key-id."""
        return str(self.data(ref, project)["key_id"])

    def scope_id(self, ref: str, project: str = P) -> str:
        """Return an item's scope-id."""
        return str(self.data(ref, project)["scope_id"])

    def member(self, ref: str, project: str = P) -> str:
        """Return an item's member of the lineage."""
        return f"{self.scope_id(ref, project)} {ref}"

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


Found = Callable[[Scene], list[Brief]]
Field = Callable[[Scene], str]
Damage = tuple[Callable[[Scene], object], Found]
"""What someone does, and what is to be found then."""


def at(problem: str, key: str, field: str | Field, project: str = P) -> Found:
    """Return one finding."""
    return lambda it: [(problem, project, key, field if isinstance(field, str) else field(it))]


def all_of(*found: Found) -> Found:
    """Return several findings."""
    return lambda it: [brief for each in found for brief in each(it)]


def key_id(ref: str) -> Field:
    return lambda it: it.key_id(ref)


def scope_id(ref: str) -> Field:
    return lambda it: it.scope_id(ref)


def member(ref: str) -> Field:
    return lambda it: it.member(ref)


def hoping(it: Scene) -> str:
    """The entry of the event that waits."""
    return it.entry("volume:hoping")


def source_of_hoping(it: Scene) -> str:
    return f"{NOWHERE} {hoping(it)}"


S1, V1, V2, V3, V4 = "snapshot:s1", "volume:v1", "volume:v2", "volume:v3", "volume:v4"
BARE, SMALL = "volume:bare", "volume:small"


# --- records that were written to -------------------------------------------------------


def edited_dek(it: Scene) -> None:
    deks, scope_id = it.secret("deks"), it.scope_id(V1)
    blob = bytearray(it.raw.hget(deks, scope_id))
    blob[-1] ^= 1
    it.raw.hset(deks, scope_id, bytes(blob))


def dek_of(ref: str) -> Callable[[Scene], object]:
    """Put another scope's DEK in the place of the first volume's."""
    return lambda it: it.raw.hset(
        it.secret("deks"), it.scope_id(V1), it.raw.hget(it.secret("deks"), it.scope_id(ref))
    )


def robbed(it: Scene, key: str) -> object:
    """Let a waiting event's entry name another item."""
    text = it.raw.hget(key, hoping(it))
    return it.raw.hset(key, hoping(it), text.replace(b"hoping", b"robbed"))


def event_under_another_name(it: Scene) -> None:
    entry = hoping(it)
    record = json.loads(it.raw.hget(it.secret("parked"), entry))
    del record["seal"]
    body = json.dumps({**record, "source": "volume:v777777"}, separators=(",", ":")).encode()[:-1]
    sealed = it.stand.custody.seal(Place(P, "parked", entry), body)
    it.raw.hset(it.secret("parked"), entry, sealed)
    it.raw.zrem(it.open("waiting:sources"), f"{NOWHERE} {entry}")


RECORDS: dict[str, Damage] = {
    "fence of a later term": (
        lambda it: it.raw.set(it.open("fence"), "99"), at("fence-wrong", "fence", ""),
    ),
    "fence of no term": (
        lambda it: it.raw.set(it.open("fence"), "soon"), at("fence-wrong", "fence", ""),
    ),
    "forged item": (
        lambda it: it.forge("items", V2, b'"node":null', b'"node":"me"'),
        at("seal-broken", "items", V2),
    ),
    "item with another's key": (
        lambda it: it.forge("items", V2, it.key_id(V2).encode(), it.key_id(V4).encode()),
        at("seal-broken", "items", V2),
    ),
    "forged key": (
        lambda it: it.forge("keys", it.key_id(V1), b'"active"', b'"suspended"'),
        at("seal-broken", "keys", key_id(V1)),
    ),
    "forged scope": (
        lambda it: it.forge("scopes", it.scope_id(V1), b'"key_bits":512', b'"key_bits":256'),
        at("seal-broken", "scopes", scope_id(V1)),
    ),
    "moved item": (
        lambda it: it.raw.hset(it.open("items"), V4, it.raw.hget(it.open("items"), V2)),
        at("seal-broken", "items", V4),
    ),
    "no item": (
        lambda it: it.raw.hset(it.open("items"), b"\xff{}", "{}"),
        at("seal-broken", "items", "\ufffd{}"),
    ),
    "replaced DEK": (dek_of(V4), at("dek-broken", "deks", scope_id(V1))),
    "edited DEK": (edited_dek, at("dek-broken", "deks", scope_id(V1))),
    "short DEK": (dek_of(SMALL), at("dek-broken", "deks", scope_id(V1))),
    "forged waiting event": (
        lambda it: robbed(it, it.secret("parked")), at("seal-broken", "parked", hoping),
    ),
    "stranger's item": (
        lambda it: it.reseal("items", V2, custody=OTHER_CUSTODY), at("unknown-kek", "items", V2),
    ),
    "unreadable key": (
        lambda it: it.reseal("keys", it.key_id(V1), state="resting"),
        at("record-wrong", "keys", key_id(V1)),
    ),
    "event under another name": (event_under_another_name, at("record-wrong", "parked", hoping)),
}  # fmt: skip


# --- records that are gone --------------------------------------------------------------

LOSSES: dict[str, Damage] = {
    # Nothing but the key-id and the counters know of it.
    "lost item": (
        lambda it: it.lose(it.open("items"), V2),
        all_of(
            at("lineage-wrong", "lineage", member(V2)),
            at("holders-wrong", "holders", key_id(V2)),
            at("key-unused", "keys", key_id(V2)),
            at("stats-wrong", "stats", "clone"),
        ),
    ),
    "lost root": (
        lambda it: it.lose(it.open("items"), V1),
        all_of(
            at("item-missing", "items", V1),
            at("lineage-wrong", "lineage", member(V1)),
            at("holders-wrong", "holders", key_id(V1)),
            at("stats-wrong", "stats", "create"),
        ),
    ),
    "lost key": (
        lambda it: (
            it.raw.delete(it.stand.top("totals")), it.lose(it.open("keys"), it.key_id(V1))
        ),
        all_of(
            at("key-missing", "keys", key_id(V1)), at("clones-wrong", "clones", scope_id(V1))
        ),
    ),
    "lost scope": (
        lambda it: (
            it.raw.delete(it.stand.top("totals")), it.lose(it.open("scopes"), it.scope_id(V1))
        ),
        at("scope-missing", "scopes", scope_id(V1)),
    ),
    "lost DEK": (
        lambda it: it.lose(it.secret("deks"), it.scope_id(V1)),
        at("dek-missing", "deks", scope_id(V1)),
    ),
    "lost waiting event": (
        lambda it: it.lose(it.secret("parked"), hoping(it)),
        all_of(
            at("parked-missing", "parked", hoping),
            at("stats-wrong", "stats", "waiting"),
            at("waiting-wrong", "waiting:shares", P),
        ),
    ),
    "key too many": (
        lambda it: it.raw.hset(it.open("keys"), "k", "{}"), at("seal-broken", "keys", "k"),
    ),
    "DEK too many": (
        lambda it: it.raw.hset(it.secret("deks"), "s", b"blob"), at("dek-unused", "deks", "s"),
    ),
    "mark too many": (
        lambda it: it.raw.hset(it.secret("expired"), "e", "1"),
        at("expired-unused", "expired", "e"),
    ),
}  # fmt: skip


# --- records that contradict each other, all well sealed --------------------------------


def reuse_of_another_key(it: Scene) -> None:
    """The snapshot says that it has the clone's key-id, which is of the same scope."""
    it.resay(S1, key_id=it.key_id(V2))
    it.raw.hset(it.open("holders"), it.key_id(V1), 1)
    it.raw.hset(it.open("holders"), it.key_id(V2), 2)


def scope_abroad(it: Scene) -> str:
    return str(it.data("volume:abroad", "p2")["scope_id"])


def resaid(ref: str, **changes: Any) -> Damage:
    """Let an item's record say something else."""
    return lambda it: it.resay(ref, **changes), at("contradiction", "items", ref)


def rekeyed(ref: str, **changes: str | Field | None) -> Damage:
    """Let an item's key say something else; what it says may be another's."""
    return (
        lambda it: it.reseal(
            "keys", it.key_id(ref), **{n: v(it) if callable(v) else v for n, v in changes.items()}
        ),
        at("contradiction", "keys", key_id(ref)),
    )


CONTRADICTIONS: dict[str, Damage] = {
    # Each key-id names its scope's DEK as well.
    "key of another scope": (
        rekeyed(V4, scope_id=scope_id(SMALL))[0],
        all_of(
            at("contradiction", "items", V4),
            at("contradiction", "keys", key_id(V4)),
            at("clones-wrong", "clones", scope_id(SMALL)),
        ),
    ),
    "key of a scope minted anew": rekeyed(V4, dek_id="00000000-0000-4000-8000-000000000000"),
    # Its name is bound to the DEK as well.
    "scope of another cipher": (
        lambda it: it.reseal("scopes", it.scope_id(V4), cipher="another"),
        all_of(at("contradiction", "items", V4), at("dek-broken", "deks", scope_id(V4))),
    ),
    "another item's data": (
        lambda it: it.reseal("items", V4, data=it.data(SMALL)), at("contradiction", "items", V4),
    ),
    "clone of nothing": rekeyed(V2, cloned_from=None),
    "clone across scopes": rekeyed(V2, cloned_from=key_id(V4)),
    "created clone": rekeyed(V1, cloned_from=key_id(V2)),
    "scope of another root": (
        lambda it: it.reseal("scopes", it.scope_id(V4), root=SMALL),
        at("contradiction", "scopes", scope_id(V4)),
    ),
    "scope of another origin": (
        lambda it: it.reseal("scopes", it.scope_id(V3), derived_from=None),
        at("contradiction", "scopes", scope_id(V3)),
    ),
    "scope of another origin abroad": (
        lambda it: it.reseal("scopes", scope_abroad(it), "p2", derived_from=it.scope_id(V4)),
        at("contradiction", "scopes", scope_abroad, project="p2"),
    ),
    "re-encrypted from another key": (
        lambda it: it.resay(V3, reencrypt_from=it.key_id(V2)), at("contradiction", "items", V3),
    ),
    "unencrypted with a key": (
        lambda it: it.resay(BARE, reencrypt_from=it.key_id(V2)),
        at("contradiction", "items", BARE),
    ),
    "encrypted without a key": resaid(V4, encryption=None),
    "copied from nothing": resaid(V1, data_action="encrypt"),
    # Whatever was made from it says otherwise.
    "reuse of another key": (
        reuse_of_another_key,
        all_of(
            at("contradiction", "items", S1),
            at("contradiction", "items", V2),
            at("contradiction", "items", V3),
            at("contradiction", "items", "volume:abroad", project="p2"),
        ),
    ),
    "clone of another scope": resaid(V2, source={"kind": "volume", "id": "v4", "project_id": P}),
    "reuse without a source": resaid(S1, source=None),
    "source that never was": (
        resaid(BARE, source={"kind": "volume", "id": "ghost", "project_id": P})[0],
        at("item-missing", "items", "volume:ghost"),
    ),
}  # fmt: skip


# --- indexes and counters: what a repair brings back exactly ----------------------------


def waiting_for_ever(it: Scene) -> None:
    text = json.loads(it.raw.hget(it.open("waiting"), hoping(it)))
    # Later than its entry among the deadlines, which is the one that counts.
    spoilt = json.dumps({**text, "deadline": "9999-01-01T00:00:00Z"}, separators=(",", ":"))
    it.raw.hset(it.open("waiting"), hoping(it), spoilt)


def shares_wrong(it: Scene) -> None:
    it.raw.hset(it.open("waiting:shares"), P, '{"events":77,"bytes":1}')
    it.raw.hset(it.open("waiting:shares"), "p9", "many")


def elsewhere(it: Scene) -> str:
    return f"{it.scope_id(V4)} {V2}"


def too_many(it: Scene) -> str:
    return f"volume:v77 {hoping(it)}"


def lineage_of_shared(it: Scene) -> list[Brief]:
    members = it.raw.zrange(it.open("lineage", SHARED), 0, -1)
    return [("lineage-wrong", SHARED, "lineage", each.decode()) for each in members]


LINEAGE_V2 = at("lineage-wrong", "lineage", member(V2))
HOLDERS_V1 = at("holders-wrong", "holders", key_id(V1))
INDEXES: dict[str, Damage] = {
    "member gone": (lambda it: it.raw.zrem(it.open("lineage"), it.member(V2)), LINEAGE_V2),
    "member with a score": (
        lambda it: it.raw.zadd(it.open("lineage"), {it.member(V2): 5}), LINEAGE_V2,
    ),
    "member of another scope": (
        lambda it: it.raw.zadd(it.open("lineage"), {elsewhere(it): 0}),
        at("lineage-wrong", "lineage", elsewhere),
    ),
    "member without an item": (
        lambda it: it.raw.zadd(it.open("lineage"), {"text": 0}),
        at("lineage-wrong", "lineage", "text"),
    ),
    "lineage gone": (lambda it: it.raw.delete(it.open("lineage", SHARED)), lineage_of_shared),
    "holders too few": (
        lambda it: it.raw.hincrby(it.open("holders"), it.key_id(V1), -1), HOLDERS_V1,
    ),
    "holders too many": (
        lambda it: it.raw.hincrby(it.open("holders"), it.key_id(V1), 7), HOLDERS_V1,
    ),
    "holders gone": (lambda it: it.lose(it.open("holders"), it.key_id(V1)), HOLDERS_V1),
    "holders of nothing": (
        lambda it: it.raw.hset(it.open("holders"), "k", 3), at("holders-wrong", "holders", "k"),
    ),
    "holders no number": (
        lambda it: it.raw.hset(it.open("holders"), it.key_id(V1), "many"), HOLDERS_V1,
    ),
    "holders beyond counting": (
        lambda it: it.raw.hset(it.open("holders"), it.key_id(V1), str(2**63 - 1)), HOLDERS_V1,
    ),
    "stats wrong": (
        lambda it: it.raw.hincrby(it.open("stats"), "reuse", 2),
        at("stats-wrong", "stats", "reuse"),
    ),
    "stats gone": (
        # Wraps are not to be counted again: where they are gone, any project may have made them.
        lambda it: it.raw.hdel(it.open("stats"), *DISPOSITIONS, "waiting"),
        all_of(*(at("stats-wrong", "stats", name) for name in (*DISPOSITIONS, "waiting"))),
    ),
    "stats no number": (
        lambda it: it.raw.hset(it.open("stats"), "create", "007"),
        at("stats-wrong", "stats", "create"),
    ),
    "stats of what waits": (
        lambda it: it.raw.hincrby(it.open("stats"), "waiting", -1),
        at("stats-wrong", "stats", "waiting"),
    ),
    "shares gone": (
        lambda it: it.raw.delete(it.open("waiting:shares")),
        at("waiting-wrong", "waiting:shares", P),
    ),
    "shares wrong": (
        shares_wrong,
        all_of(*(at("waiting-wrong", "waiting:shares", project) for project in (P, "p9"))),
    ),
    "waiting gone": (
        lambda it: it.lose(it.open("waiting"), hoping(it)), at("waiting-wrong", "waiting", hoping),
    ),
    "waiting about another": (
        lambda it: robbed(it, it.open("waiting")), at("waiting-wrong", "waiting", hoping),
    ),
    "waiting for ever": (waiting_for_ever, at("waiting-wrong", "waiting", hoping)),
    "deadline gone": (
        lambda it: it.raw.zrem(it.open("waiting:deadlines"), hoping(it)),
        at("waiting-wrong", "waiting:deadlines", hoping),
    ),
    "source gone": (
        lambda it: it.raw.zrem(it.open("waiting:sources"), source_of_hoping(it)),
        at("waiting-wrong", "waiting:sources", source_of_hoping),
    ),
    "source too many": (
        lambda it: it.raw.zadd(
            it.open("waiting:sources"), {too_many(it): 0, "volume:v77 no-entry": 0}
        ),
        all_of(
            at("waiting-wrong", "waiting:sources", too_many),
            at("waiting-wrong", "waiting:sources", "volume:v77 no-entry"),
        ),
    ),
    "project unlisted": (
        lambda it: it.raw.srem(it.stand.top("projects"), SHARED),
        at("project-unlisted", "projects", SHARED, SHARED),
    ),
}  # fmt: skip
