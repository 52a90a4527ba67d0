"""Items, keys and scopes: does each agree with those it names?

A finding's place is the record that is wrong or missing, not the one that shows it: a
scope that is gone is one finding, however many items it had. Nothing is concluded from a
flawed record; it is a finding itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kmworker.domain.model import (
    Assignment,
    DataAction,
    Disposition,
    Item,
    ItemRecord,
    KeyRecord,
    Kind,
    Place,
    ScopeRecord,
    scope_id_for,
)
from kmworker.verify.rules.findings import Finding, LineageRepair, Problem
from kmworker.verify.rules.opened import Flawed, Opened, Sound, flaw_at

__all__ = [
    "ItemCase", "KeyCase", "ScopeCase", "item_findings", "item_named", "key_findings",
    "lineage_findings", "lineage_member", "scope_findings",
]  # fmt: skip

KINDS: Final = {kind.value: kind for kind in Kind if kind is not Kind.IMAGE}
BITS_PER_BYTE: Final = 8


@dataclass(frozen=True, slots=True)
class ItemCase:
    """An item's record and those that it stands on."""

    project: str
    ref: str
    own: Opened[ItemRecord]
    key: Opened[KeyRecord] = None
    scope: Opened[ScopeRecord] = None
    source: Opened[ItemRecord] = None
    score: float | None = None
    """Its score in the lineage; None: it is not there."""


@dataclass(frozen=True, slots=True)
class KeyCase:
    """A key-id's record and those that it names."""

    project: str
    key_id: str
    own: Opened[KeyRecord]
    scope: Opened[ScopeRecord] = None
    cloned_from: Opened[KeyRecord] = None


@dataclass(frozen=True, slots=True)
class ScopeCase:
    """A scope's record, its root, and what its wrapped DEK turned out to be."""

    project: str
    scope_id: str
    own: Opened[ScopeRecord]
    root: Opened[ItemRecord] = None
    dek: Opened[None] = None


def lineage_member(scope_id: str, ref: str) -> str:
    """Return an item's member of the lineage."""
    return f"{scope_id} {ref}"


def item_named(project: str, ref: str) -> Item | None:
    """Return the item of an item ref; None if it is none."""
    kind, _colon, identifier = ref.partition(":")
    return Item(project, KINDS[kind], identifier) if kind in KINDS and identifier else None


# --- items ------------------------------------------------------------------------------


def item_findings(case: ItemCase) -> Iterator[Finding]:
    """Judge one item."""
    place = Place(case.project, "items", case.ref)
    if isinstance(case.own, Flawed):
        yield flaw_at(place, case.own)
    if not isinstance(case.own, Sound) or case.own.value.assignment is None:
        return
    own = case.own.value.assignment
    if own.source is not None and own.source.kind is not Kind.IMAGE and case.source is None:
        missing = Place(own.source.project, "items", own.source.ref)
        says = f"it is the source of {own.item.ref} of project {own.item.project}"
        yield Finding(Problem.ITEM_MISSING, missing, says)
    keyed = (own.key_id, own.scope_id, own.encryption)
    if own.disposition is Disposition.NONE:
        if any(keyed):
            yield _contradiction(place, "it is not encrypted and yet has a key")
        yield from _unencrypted_from(place, own, case)
        return
    if not all(keyed):
        yield _contradiction(place, f"its disposition is {own.disposition} and it has no key")
        return
    yield from _item_key(place, own, case)
    yield from _item_member(own, case, case.own.raw)
    yield from _item_origin(place, own, case)


def life_in(opened: Opened[ItemRecord], generation: int) -> Assignment | None:
    """Return this life of an item, if its record is of it and sound."""
    assignment = opened.value.assignment if isinstance(opened, Sound) else None
    if assignment is None or assignment.generation != generation:
        return None
    return assignment


def _item_key(place: Place, own: Assignment, case: ItemCase) -> Iterator[Finding]:
    if case.key is None:
        yield _missing(Problem.KEY_MISSING, place, "keys", own.key_id)
    if case.scope is None:
        yield _missing(Problem.SCOPE_MISSING, place, "scopes", own.scope_id)
    if isinstance(case.key, Sound) and case.key.value.scope_id != own.scope_id:
        yield _contradiction(place, f"its key-id {own.key_id} is of another scope")
    if isinstance(case.scope, Sound) and case.scope.value.encryption != own.encryption:
        yield _contradiction(place, f"its encryption is not that of its scope {own.scope_id}")


def _item_member(own: Assignment, case: ItemCase, record: bytes) -> Iterator[Finding]:
    member = lineage_member(str(own.scope_id), case.ref)
    if case.score == 0:
        return
    says = "the lineage lacks this item" if case.score is None else "its score is not 0"
    yield Finding(
        Problem.LINEAGE_WRONG,
        Place(case.project, "lineage", member),
        says,
        LineageRepair(member, case.ref, record, is_member=True),
    )


def _item_origin(place: Place, own: Assignment, case: ItemCase) -> Iterator[Finding]:
    """Hold the disposition against the source, as it was decided from it."""
    if own.disposition is Disposition.CREATE:
        yield from _own_scope(place, own, case)
    if own.source is None or own.source.kind is Kind.IMAGE:
        if own.disposition is not Disposition.CREATE:
            yield _contradiction(place, f"its disposition is {own.disposition} without a source")
        return
    source = life_in(case.source, own.source_generation)
    if source is not None:
        yield from _beside_source(place, own, source, case)


def _unencrypted_from(place: Place, own: Assignment, case: ItemCase) -> Iterator[Finding]:
    """Judge what an item without a key says of the data that it was copied from."""
    said = (own.data_action, own.reencrypt_from)
    if said == (DataAction.NONE, None):
        return
    source = life_in(case.source, own.source_generation)
    if own.data_action is not DataAction.DECRYPT or not own.reencrypt_from or case.source is None:
        yield _contradiction(place, f"it is not encrypted, and its data_action is {said[0]}")
    elif source is not None and source.key_id != own.reencrypt_from:
        yield _contradiction(place, f"its source {source.item.ref} has another key-id")


def _own_scope(place: Place, own: Assignment, case: ItemCase) -> Iterator[Finding]:
    if own.scope_id != scope_id_for(own.item, own.generation):
        yield _contradiction(place, "it was created, but its scope is not its own")
    if own.source is None and (own.data_action, own.reencrypt_from) != (DataAction.NONE, None):
        yield _contradiction(place, f"its data_action is {own.data_action} without a source")
    if isinstance(case.key, Sound) and case.key.value.cloned_from is not None:
        at_key = Place(place.project, "keys", str(own.key_id))
        yield _contradiction(at_key, f"it was created for {own.item.ref}, and yet is a clone")


def _beside_source(
    place: Place, own: Assignment, source: Assignment, case: ItemCase
) -> Iterator[Finding]:
    name = f"its source {source.item.ref}"
    if own.disposition is Disposition.CREATE:
        yield from _created_from(place, own, source, case)
        return
    if source.item.project != own.item.project or source.scope_id != own.scope_id:
        yield _contradiction(place, f"its disposition is {own.disposition}, but {name} has"
                             " another scope")  # fmt: skip
        return
    if own.disposition is Disposition.REUSE and own.key_id != source.key_id:
        yield _contradiction(place, f"its disposition is reuse, but {name} has another key-id")
    if own.disposition is Disposition.CLONE:
        if own.key_id == source.key_id:
            yield _contradiction(place, f"its disposition is clone, but {name} has its key-id")
        elif isinstance(case.key, Sound) and case.key.value.cloned_from != source.key_id:
            at_key = Place(place.project, "keys", str(own.key_id))
            says = f"it is {own.item.ref}'s, and yet no clone of {source.key_id}"
            yield _contradiction(at_key, says)


def _created_from(
    place: Place, own: Assignment, source: Assignment, case: ItemCase
) -> Iterator[Finding]:
    action = DataAction.ENCRYPT if source.key_id is None else DataAction.REENCRYPT
    if (own.data_action, own.reencrypt_from) != (action, source.key_id):
        yield _contradiction(place, f"what it says of its source's data is not {action} from"
                             f" {source.key_id}")  # fmt: skip
    if isinstance(case.scope, Sound) and case.scope.value.derived_from != source.scope_id:
        at_scope = Place(place.project, "scopes", str(own.scope_id))
        yield _contradiction(at_scope, f"it is not derived from {source.scope_id}, where its"
                             " root's source is")  # fmt: skip


# --- keys, scopes, lineage --------------------------------------------------------------


def key_findings(case: KeyCase) -> Iterator[Finding]:
    """Judge one key-id."""
    place = Place(case.project, "keys", case.key_id)
    if isinstance(case.own, Flawed):
        yield flaw_at(place, case.own)
    if not isinstance(case.own, Sound):
        return
    own = case.own.value
    if case.scope is None:
        yield _missing(Problem.SCOPE_MISSING, place, "scopes", own.scope_id)
    if own.cloned_from is not None and case.cloned_from is None:
        yield _missing(Problem.KEY_MISSING, place, "keys", own.cloned_from)
    if isinstance(case.scope, Sound) and case.scope.value.dek_id != own.dek_id:
        yield _contradiction(place, f"it is of another DEK than its scope {own.scope_id}")
    if isinstance(case.cloned_from, Sound) and case.cloned_from.value.scope_id != own.scope_id:
        yield _contradiction(place, f"it is a clone of {own.cloned_from}, which has another scope")


def scope_findings(case: ScopeCase) -> Iterator[Finding]:
    """Judge one scope and its wrapped DEK."""
    place = Place(case.project, "scopes", case.scope_id)
    if isinstance(case.own, Flawed):
        yield flaw_at(place, case.own)
    if not isinstance(case.own, Sound):
        return
    own = case.own.value
    root = item_named(case.project, own.root)
    root_life = life_in(case.root, own.generation)
    if root is None or scope_id_for(root, own.generation) != case.scope_id:
        yield _contradiction(place, f"its scope-id is not that of its root {own.root}")
    elif case.root is None:
        says = f"it is the root of scope {case.scope_id}"
        yield Finding(Problem.ITEM_MISSING, Place(case.project, "items", own.root), says)
    elif root_life is not None and root_life.scope_id != case.scope_id:
        yield _contradiction(place, f"its root {own.root} is of another scope")
    at_dek = Place(case.project, "deks", case.scope_id)
    if case.dek is None:
        says = f"it is the wrapped DEK of {own.root}'s scope"
        yield Finding(Problem.DEK_MISSING, at_dek, says)
    elif isinstance(case.dek, Flawed):
        yield flaw_at(at_dek, case.dek)


def lineage_findings(project: str, member: str, item: Opened[ItemRecord]) -> Iterator[Finding]:
    """Judge one member of the lineage by the item that it names."""
    scope_id, _space, ref = member.partition(" ")
    if isinstance(item, Flawed):
        return
    assignment = item.value.assignment if isinstance(item, Sound) else None
    if assignment is not None and assignment.scope_id == scope_id:
        return
    says = "there is no such item" if item is None else f"{ref} is not of that scope"
    yield Finding(
        Problem.LINEAGE_WRONG,
        Place(project, "lineage", member),
        says,
        LineageRepair(member, ref, None if item is None else item.raw, is_member=False),
    )


def _missing(problem: Problem, shown_by: Place, key: str, field: str | None) -> Finding:
    says = f"{shown_by.field} in {shown_by.key} names it"
    return Finding(problem, Place(shown_by.project, key, str(field)), says)


def _contradiction(place: Place, says: str) -> Finding:
    return Finding(Problem.CONTRADICTION, place, says)
