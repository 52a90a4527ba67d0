"""What dashboards read of lives and keys in Redis, held against the model."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.kit.checker.rules import differences
from tests.kit.outside.lives import keys as states
from tests.kit.outside.lives.changed import last_change, seconds_of
from tests.kit.outside.lives.keys import KeyLife
from tests.kit.outside.lives.outlook import Outlook
from tests.kit.outside.lives.told import Ledger
from tests.kit.outside.lives.world import ANY, Record, World
from tests.kit.outside.reader import Reader
from tests.kit.outside.words import Item

Data = dict[str, Any]
DAY_S: Final = 24 * 60 * 60
CLOSE_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Shelf:
    """One project, as it is to be."""

    project: str
    world: World
    outlook: Outlook
    ledger: Ledger
    reader: Reader
    known: Mapping[Item, Data]
    """By the life that brought a key-id, what that was announced with."""
    assigned: Mapping[Item, Data]
    """By life."""

    @property
    def records(self) -> dict[str, tuple[Item, Record]]:
        return {
            name.ref: (name, it)
            for name, it in self.world.items.items()
            if name.project == self.project
        }

    @property
    def keys(self) -> dict[str, KeyLife]:
        return {
            self.known[owner]["key_id"]: key
            for owner, key in self.world.keys.items()
            if owner.project == self.project and owner in self.known
        }

    @property
    def scopes(self) -> dict[str, list[KeyLife]]:
        """Key-ids by scope-id."""
        found: dict[str, list[KeyLife]] = {}
        for key in self.keys.values():
            found.setdefault(self.known[key.owner]["scope_id"], []).append(key)
        return found

    def score(self, table: str) -> dict[str, float]:
        name = f"{self.reader.prefix}:{{{self.project}}}:{table}"
        found: Any = self.reader.dashboard.zrange(name, 0, -1, withscores=True)
        return {member.decode(): score for member, score in found}


def problems(outlook: Outlook, ledger: Ledger, reader: Reader) -> Iterator[str]:
    """Everything that is wrong with the records of all projects."""
    world, known = outlook.world, ledger.key_ids()
    assigned = {life: it.parsed()["data"] for life, it in ledger.assigned().items()}
    for project in sorted({name.project for name in world.items}):
        shelf = Shelf(project, world, outlook, ledger, reader, known, assigned)
        for found in (
            *_item_problems(shelf), *_key_problems(shelf), *_scope_problems(shelf),
            *_index_problems(shelf), *_stats_problems(shelf),
        ):  # fmt: skip
            yield f"{project}: {found}"
    waiting = Counter((it.item.ref, it.source.project) for it in world.waiting if it.source)
    gone_by = Counter[tuple[str, str]]()
    for project in {it.project for it in world.items} | {it[1] for it in waiting}:
        gone_by.update((it["item"], project) for it in reader.records(project, "waiting").values())
    if beside := gone_by - waiting:
        yield f"{beside} must not wait"


def _item_problems(shelf: Shelf) -> Iterator[str]:
    found, wanted = shelf.reader.records(shelf.project, "items"), shelf.records
    yield from differences("items", found, wanted)
    for ref in found.keys() & wanted.keys():
        name, record = wanted[ref]
        for problem in _one_item_problems(found[ref], name, record, shelf):
            yield f"{ref}: {problem}"


def _one_item_problems(found: Data, name: Item, record: Record, shelf: Shelf) -> Iterator[str]:
    wanted = _fields(name, record)
    yield from (
        f"{it} is {found.get(it)!r}, not {wanted[it]!r}"
        for it in wanted
        if found.get(it) != wanted[it]
    )
    fate = record.fate
    told = None if fate is None else shelf.assigned.get(fate.item)
    if fate is None and found["data"] is not None:
        yield f"was never heard of, and has {found['data']}"
    if told is not None and list(found["data"].items()) != list(told.items()):
        yield "the record is not what was announced"
    if record.gone is not None:
        yield from _tombstone_problems(found, record)
    yield from _former_problems(found, record, shelf)


def _fields(name: Item, record: Record) -> Data:
    """What stands behind an item's data; None for what is not there."""
    fate = record.fate
    wanted: Data = {"state": "active" if record.gone is None else "released"}
    wanted["generation"] = record.newest or None
    source = None if fate is None else fate.source
    if source is not None and source.kind != "partition":
        wanted["source_generation"] = source.generation or None
    is_other = fate is not None and record.gone not in {None, fate.item.generation}
    wanted["assigned_generation"] = fate.item.generation if is_other and fate else None
    assert name.generation == 0
    return wanted


def _tombstone_problems(found: Data, record: Record) -> Iterator[str]:
    by = found.get("released_by")
    if by is None:
        # Asked again and again, until its release has been handled.
        yield "it is not released"
        return
    if (by["id"], by["source"], by["type"]) not in record.released_by:
        yield f"released_by is {by}, and none of {sorted(record.released_by)}"
    if not found["released_at"]:
        yield "released_at is missing"
    # Of what was never heard of, the contract leaves open whether it says so.
    is_open = record.was_early == ANY or record.fate is None
    if not is_open and found.get("early", False) is not record.was_early:
        yield f"early is {found.get('early')}, not {record.was_early}"


def _former_problems(found: Data, record: Record, shelf: Shelf) -> Iterator[str]:
    if record.former == ANY:
        return
    former = found.get("former")
    life = record.former
    if not isinstance(life, Item):
        if former is not None:
            yield f"former is {former}, and it has ended nothing"
        return
    owner = shelf.ledger.fates[life].key_owner
    if former is None or former["generation"] != life.generation:
        yield f"former is {former}, not {life}"
    elif owner is not None and former["key_id"] != shelf.known.get(owner, former)["key_id"]:
        yield f"former has key-id {former['key_id']}"


def _key_problems(shelf: Shelf) -> Iterator[str]:
    found, wanted = shelf.reader.records(shelf.project, "keys"), shelf.keys
    unheard = len([it for it in shelf.world.keys if it.project == shelf.project]) - len(wanted)
    if len(found) != len(wanted) + unheard or wanted.keys() - found.keys():
        yield from differences("keys", found, wanted)
    for key_id in found.keys() & wanted.keys():
        key = wanted[key_id]
        for problem in _one_key_problems(key_id, found[key_id], key, shelf):
            yield f"key of {key.owner}: {problem}"


def _one_key_problems(key_id: str, found: Data, key: KeyLife, shelf: Shelf) -> Iterator[str]:
    said = shelf.ledger.ear.changes.get(key_id, {})
    cloned_from = None
    if key.cloned_from is not None:
        cloned_from = shelf.known.get(key.cloned_from, {}).get("key_id")
    wanted: Data = {
        "scope_id": shelf.known[key.owner]["scope_id"],
        "state": key.state,
        "cloned_from": cloned_from,
        "version": len(said) + 1,
        "own_state": key.own if key.state == states.COMPROMISED else None,
    }
    if key.cloned_from is not None and cloned_from is None:
        del wanted["cloned_from"]
    yield from (
        f"{it} is {found.get(it)!r}, not {wanted[it]!r}"
        for it in wanted
        if found.get(it) != wanted[it]
    )
    for field, due in (("destroy_at", key.due), ("active_until", key.until)):
        if (field in found) is not (due is not None):
            yield f"{field} is {found.get(field)}, not {due}"
        elif due is not None:
            after_s = seconds_of(found[field]) - seconds_of(found["changed"]["at"])
            if (after_s > DAY_S) is not (due == states.LATER):
                yield f"{field} is {found[field]}, not {due}"
    yield from _changed_problems(found.get("changed"), last_change(shelf.ledger, key_id))


def _changed_problems(changed: Data | None, last: Data | None) -> Iterator[str]:
    if (changed is None) is not (last is None):
        yield f"changed is {changed}, and announced was {last}"
    elif changed is not None and last is not None:
        for field, value in changed.items():
            if last.get(field) != value:
                yield f"changed.{field} is {value!r}, and was announced as {last.get(field)!r}"


def _scope_problems(shelf: Shelf) -> Iterator[str]:
    found, wanted = shelf.reader.records(shelf.project, "scopes"), shelf.scopes
    if missing := wanted.keys() - found.keys():
        yield f"scopes {sorted(missing)} are missing"
    deks = shelf.reader.secret(shelf.project, "deks")
    for scope_id in found.keys() & wanted.keys():
        family, record = wanted[scope_id], found[scope_id]
        scope = family[0].scope
        whole = shelf.world.family(scope)
        is_gone = all(key.own == states.DESTROYED for key in whole)
        if ("destroyed_at" in record) is not is_gone or (scope_id in deks) is is_gone:
            yield f"scope of {scope}: destroyed_at {record.get('destroyed_at')}, not {is_gone}"
        reason = shelf.world.compromised.get(scope)
        if (record.get("compromised") or {}).get("reason") != reason:
            yield f"scope of {scope}: compromised is {record.get('compromised')}, not {reason}"
        if record["root"] != scope.ref or record.get("generation", 0) != scope.generation:
            yield f"scope of {scope}: its root is {record['root']}"
    if len(found) != len({it.scope for it in shelf.world.keys.values() if _is_in(it, shelf)}):
        yield f"there are {len(found)} scopes"
    if stray := deks.keys() - found.keys():
        yield f"wrapped DEKs of no scope: {sorted(stray)}"


def _is_in(key: KeyLife, shelf: Shelf) -> bool:
    return key.owner.project == shelf.project


def _index_problems(shelf: Shelf) -> Iterator[str]:
    reader, project = shelf.reader, shelf.project
    holders = {name: int(it) for name, it in reader.table(project, "holders").items()}
    for key_id, key in shelf.keys.items():
        if holders.get(key_id, 0) != len(key.holders):
            yield f"holders of {key.owner}: {holders.get(key_id)}, not {sorted(key.holders)}"
    clones = {name: int(it) for name, it in reader.table(project, "clones").items()}
    for scope_id, family in shelf.scopes.items():
        left = [it for it in shelf.world.family(family[0].scope) if it.own != states.DESTROYED]
        if clones.get(scope_id, 0) != max(0, len(left) - 1):
            yield f"clones of {family[0].scope}: {clones.get(scope_id)}, not of {len(left)}"
    yield from _due_problems(shelf)
    yield from _place_problems(shelf)
    if outbox := reader.table(project, "outbox"):
        yield f"outbox: {sorted(outbox)} may not have been announced"
    if unrecorded := reader.table(project, "unrecorded"):
        yield f"unrecorded: {sorted(unrecorded)} may not be in the audit trail"


def _due_problems(shelf: Shelf) -> Iterator[str]:
    due, listed = shelf.score("keys:due"), shelf.reader.records(shelf.project, "keys")
    for key_id, key in shelf.keys.items():
        is_due = key.due is not None or key.until is not None or key.own == states.DESTROYED
        if (key_id in due) is not is_due:
            yield f"keys:due of {key.owner} ({key.state}): {due.get(key_id)}"
        record = listed.get(key_id, {})
        at = record.get("destroy_at") or record.get("active_until")
        if is_due and at is not None and abs(due.get(key_id, 0) - seconds_of(at)) > CLOSE_S:
            yield f"keys:due of {key.owner}: {due.get(key_id)}, not {at}"


def _place_problems(shelf: Shelf) -> Iterator[str]:
    """Every item is in the lineage of its scope; tombstones without one have an index."""
    lineage, scopeless = set(), set()
    for ref, (_name, record) in shelf.records.items():
        fate = record.fate
        if fate is not None and fate.scope_owner is not None:
            told = shelf.assigned.get(fate.item)
            lineage.add(f"{told['scope_id']} {ref}" if told is not None else ref)
        elif record.gone is not None:
            scopeless.add(ref)
    found = shelf.score("lineage").keys()
    if len(found) != len(lineage) or {it for it in lineage if " " in it} - found:
        yield f"lineage: {sorted(found ^ lineage)}"
    # Another life may have taken a tombstone's place: the janitor takes that out in time.
    if missing := scopeless - shelf.score("tombstones").keys():
        yield f"tombstones: {sorted(missing)} are missing"


def _stats_problems(shelf: Shelf) -> Iterator[str]:
    found = {name: int(it) for name, it in shelf.reader.table(shelf.project, "stats").items()}
    for (project, name), (least, most) in shelf.outlook.stats.items():
        if project == shelf.project and not least <= found.get(name, 0) <= most:
            yield f"stats: {name} is {found.get(name)}, not {least} to {most}"


def adopted(outlook: Outlook, reader: Reader) -> World:
    """Return what has come of a round, with those counters that the order decides as they are."""
    world = outlook.world.fork()
    for project, name in outlook.stats:
        found = reader.table(project, "stats").get(name, "0")
        world.stats[project, name] = int(found)
    return world
