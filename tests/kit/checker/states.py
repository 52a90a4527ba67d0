"""What may become of a record: of an item's lives, of a key-id, of a scope. From the contract."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tests.kit.checker.contents import Record, Table

DESTROYED: Final = "destroyed"
MANUAL: Final = "manual"
REMEMBERED_DAYS: Final = 30
"""How long an attachment that is over stays so."""
ITEM_STATES: Final = frozenset(("active", "released"))
KEY_STATES: Final = frozenset(("active", "deactivated", "suspended", "compromised", DESTROYED))
KEPT_OF_KEYS: Final = ("scope_id", "dek_id", "cloned_from", "created_at")
KEPT_OF_SCOPES: Final = (
    "root", "dek_id", "cipher", "key_bits", "derived_from", "created_at", "generation",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lives:
    """What a record says of the lives of its item's name."""

    assigned: int | None
    """The life that its data is about; None: it was released before it was heard of."""
    newest: int
    is_over: bool
    """Whether the newest is."""
    ends: tuple[tuple[str | None, int, str], ...]
    """Lives that are over: key-id, which one, and since when."""


def lives_of(record: Record) -> Lives:
    """Return what an item's record says of its lives."""
    newest, data = record.get("generation", 0), record["data"]
    is_over = record["state"] == "released"
    assigned = None if data is None else record.get("assigned_generation", newest)
    former = record.get("former")
    ends = [] if former is None else [(former["key_id"], former["generation"], former["at"])]
    if is_over:
        ends.append((data and data["key_id"], newest, record["released_at"]))
    return Lives(assigned, newest, is_over, tuple(ends))


def own_state(key: Record) -> str:
    """Return a key-id's state, beside its scope's."""
    return str(key.get("own_state", key["state"]))


def held_by(items: Table) -> Counter[str]:
    """Count the items that hold each key-id."""
    data = (it["data"] for it in items.values() if it["state"] == "active")
    return Counter(it["key_id"] for it in data if it["key_id"])


def partitions_keys(items: Table) -> set[str]:
    """Return the key-ids of partitions, which stand for their replicas."""
    return {
        it["data"]["key_id"]
        for ref, it in items.items()
        if ref.startswith("partition:") and it["state"] == "active" and it["data"]["key_id"]
    }


def names_missing(tables: Mapping[str, Table], deks: Collection[str]) -> Iterator[tuple[str, str]]:
    """Give what items and key-ids name that is not there: who, and what."""
    items, keys, scopes = tables["items"], tables["keys"], tables["scopes"]
    for ref, item in items.items():
        key_id = item["data"] and item["data"]["key_id"]
        if item["state"] != "active" or not key_id:
            continue
        if key_id not in keys:
            yield ref, f"holds key-id {key_id}, which is gone"
        elif own_state(keys[key_id]) == DESTROYED:
            yield ref, f"holds key-id {key_id}, which is destroyed"
    for key_id, key in keys.items():
        if own_state(key) != DESTROYED:
            if key["scope_id"] not in scopes:
                yield f"key-id {key_id}", "names a scope that is gone"
            if key["scope_id"] not in deks:
                yield f"key-id {key_id}", "names a DEK that is gone"


def let_go_of(before: Table, after: Mapping[str, Table]) -> Iterator[str]:
    """Give the key-ids that have just been deactivated though items hold them."""
    held = held_by(after["items"])
    for key_id, key in after["keys"].items():
        is_new = own_state(key) == "deactivated" and key != before.get(key_id)
        if is_new and own_state(before.get(key_id, key)) == "active" and held[key_id]:
            yield key_id


def item_change(
    before: Record | None, now: Record | None, after: Mapping[str, Table]
) -> str | None:
    """Return what may not become of an item's record; None: it may."""
    if before is None:
        return None
    was = lives_of(before)
    if now is None:
        return None if was.is_over and not _is_kept(before, after) else "is gone before its time"
    found = lives_of(now)
    if found.newest < was.newest or (found.newest == was.newest and was.is_over > found.is_over):
        return f"goes back from life {was.newest} to {found.newest}"
    if (
        was.assigned is not None
        and was.assigned == found.assigned
        and now["data"] != before["data"]
    ):
        return "is assigned otherwise than before"
    return None


def _is_kept(tombstone: Record, after: Mapping[str, Table]) -> bool:
    """Return whether a DEK stands behind what is gone."""
    data = tombstone["data"]
    key = after["keys"].get(data["key_id"]) if data and data["key_id"] else None
    return key is not None and own_state(key) != DESTROYED


def key_change(before: Record | None, now: Record | None) -> str | None:
    """Return what may not become of a key-id's record; None: it may."""
    if before is None:
        return None
    is_over = own_state(before) == DESTROYED
    if now is None:
        return None if is_over else "is gone, and was not destroyed"
    if is_over:
        return "was destroyed, and is changed"
    wrong = [name for name in KEPT_OF_KEYS if before[name] != now[name]]
    if wrong or now["version"] <= before["version"]:
        return f"is changed in what stays: {wrong or now['version']}"
    return _destroyed_wrongly(before, now)


def _destroyed_wrongly(before: Record, now: Record) -> str | None:
    """Return what keeps a janitor from what it has done to a key-id; None: nothing does."""
    if own_state(now) != DESTROYED or now["changed"]["by"]["kind"] != "janitor":
        return None
    state, due = own_state(before), before.get("destroy_at", MANUAL)
    # Times of one form are ordered as texts; `manual` comes after all of them.
    if state == "deactivated" and due <= now["changed"]["at"]:
        return None
    return f"is destroyed while it is {state} until {due}"


def grants_change(before: Record | None, now: Record | None) -> str | None:
    """Return what may not become of the record of an item's attachments; None: it may."""
    if before is None or now is None:
        # With its item, all of it is forgotten.
        return None
    found = {it["id"]: it for it in now["attachments"]}
    newest = max((it["at"] for it in _said_of(found.values())), default="")
    for was in before["attachments"]:
        now_it = found.get(was["id"])
        if now_it is None and not _is_long_over(was, newest):
            return f"forgets attachment {was['id']}"
        if now_it is not None and "over" in was and was["over"] != now_it.get("over"):
            return f"revives attachment {was['id']}"
        if now_it is not None and was.get("grant") != now_it.get("grant"):
            return f"changes attachment {was['id']}"
    return None


def _said_of(attachments: Iterable[Record]) -> Iterator[Record]:
    for it in attachments:
        yield from (it[what] for what in ("grant", "over") if what in it)


def _is_long_over(attachment: Record, newest: str) -> bool:
    if "over" not in attachment:
        return False
    since = datetime.fromisoformat(newest) - datetime.fromisoformat(attachment["over"]["at"])
    return since > timedelta(days=REMEMBERED_DAYS)


def scope_change(before: Record | None, now: Record | None) -> str | None:
    """Return what may not become of a scope's record; None: it may."""
    if before is None:
        return None
    if now is None:
        return None if "destroyed_at" in before else "is gone, and its DEK was not destroyed"
    for name in KEPT_OF_SCOPES:
        if before.get(name) != now.get(name):
            return f"changes its {name}"
    for name in ("compromised", "destroyed_at"):
        if name in before and before[name] != now.get(name):
            return f"changes what was {name}"
    return None
