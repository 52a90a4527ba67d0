"""Items: does each agree with those it names?

A finding's place is the record that is wrong or missing, not the one that shows it: a
scope that is gone is one finding, however many items it had. Nothing is concluded from a
flawed record; it is a finding itself.

What an item was derived from may be forgotten, and its name used again: see `life_in` and
`Absence`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kmworker.clock import unix_s
from kmworker.domain.model import (
    Assignment,
    DataAction,
    Disposition,
    Item,
    ItemRecord,
    KeyRecord,
    KeyState,
    Kind,
    Place,
    ScopeRecord,
    scope_id_for,
)
from kmworker.verify.rules.findings import Finding, Problem
from kmworker.verify.rules.indexes import lineage_finding, tombstone_findings
from kmworker.verify.rules.opened import Flawed, Opened, Sound, contradiction, flaw_at, missing

__all__ = [
    "PRESENT", "Absence", "ItemCase", "item_findings", "item_named", "life_in", "scope_of_source",
]  # fmt: skip

KINDS: Final = {kind.value: kind for kind in Kind if kind is not Kind.IMAGE}
# A name is free again weeks after its item was deleted; two workers' clocks differ by less.
LATER_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Absence:
    """What else is known of an item that has no record."""

    is_listed: bool = False
    """Whether the lineage has it in the scope that it was of: the two go together."""
    may_be_forgotten: bool = False
    """Whether its project has ever forgotten an item, be it for another life of its name."""

    @property
    def is_loss(self) -> bool:
        """Return whether its record was lost, and not forgotten."""
        return self.is_listed or not self.may_be_forgotten


PRESENT: Final = Absence()
"""Of an item that has a record."""


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
    absence: Absence = PRESENT
    """Of a source that has no record."""
    gone_at: float | None = None
    """Its score among the tombstones."""


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
    if not isinstance(case.own, Sound):
        return
    yield from tombstone_findings(case.project, case.ref, case.own, case.gone_at)
    own = case.own.value.assignment
    if own is None:
        return
    if has_source(own) and case.source is None and case.absence.is_loss:
        assert own.source is not None  # noqa: S101  # see above
        lost = Place(own.source.project, "items", own.source.ref)
        says = f"it is the source of {own.item.ref} of project {own.item.project}"
        yield Finding(Problem.ITEM_MISSING, lost, says)
    keyed = (own.key_id, own.scope_id, own.encryption)
    if own.disposition is Disposition.NONE:
        if any(keyed):
            yield contradiction(place, "it is not encrypted and yet has a key")
        yield from _unencrypted_from(place, own, case)
        return
    if not all(keyed):
        yield contradiction(place, f"its disposition is {own.disposition} and it has no key")
        return
    yield from _item_key(place, own, case)
    if isinstance(case.key, Sound) and case.own.value.tombstone is None:
        yield from _held_key(own, case.key.value)
    if case.score != 0:
        yield lineage_finding(case.project, str(own.scope_id), case.ref, case.own.raw, case.score)
    yield from _item_origin(place, own, case)


def life_in(opened: Opened[ItemRecord], generation: int, seen_at: str) -> Assignment | None:
    """Return this life of an item, if its record is of it and sound.

    Args:
        opened: the record.
        generation: the life's number.
        seen_at: when that was there, RFC 3339. What was assigned later has the number of one that
            is forgotten.
    """
    assignment = opened.value.assignment if isinstance(opened, Sound) else None
    if assignment is None or assignment.generation != generation:
        return None
    is_later = unix_s(assignment.assigned_at) > unix_s(seen_at) + LATER_S
    return None if is_later else assignment


def has_source(own: Assignment) -> bool:
    """Return whether an item is derived from one that has a record; images have none."""
    return own.source is not None and own.source.kind is not Kind.IMAGE


def scope_of_source(own: Assignment, scope: Opened[ScopeRecord]) -> str | None:
    """Return of which scope an item's source was; None: of none, or that is not known."""
    if own.disposition in {Disposition.REUSE, Disposition.CLONE}:
        return own.scope_id
    return scope.value.derived_from if isinstance(scope, Sound) else None


def _source_of(own: Assignment, case: ItemCase) -> Assignment | None:
    return life_in(case.source, own.source_generation, own.assigned_at)


def _item_key(place: Place, own: Assignment, case: ItemCase) -> Iterator[Finding]:
    if case.key is None:
        yield missing(Problem.KEY_MISSING, place, "keys", own.key_id)
    if case.scope is None:
        yield missing(Problem.SCOPE_MISSING, place, "scopes", own.scope_id)
    if isinstance(case.key, Sound) and case.key.value.scope_id != own.scope_id:
        yield contradiction(place, f"its key-id {own.key_id} is of another scope")
    if isinstance(case.scope, Sound) and case.scope.value.encryption != own.encryption:
        yield contradiction(place, f"its encryption is not that of its scope {own.scope_id}")


def _held_key(own: Assignment, key: KeyRecord) -> Iterator[Finding]:
    """Judge the key-id of an item that is there."""
    at_key = Place(own.item.project, "keys", key.key_id)
    if key.state is KeyState.DESTROYED:
        yield contradiction(at_key, f"{own.item.ref} holds it, and it is destroyed")
    elif key.state is KeyState.DEACTIVATED:
        says = f"{own.item.ref} holds it, and yet it is deactivated: the janitor puts that right"
        yield contradiction(at_key, f"{says} at its time")


def _item_origin(place: Place, own: Assignment, case: ItemCase) -> Iterator[Finding]:
    """Hold the disposition against the source, as it was decided from it."""
    if own.disposition is Disposition.CREATE:
        yield from _own_scope(place, own, case)
    if not has_source(own):
        if own.disposition is not Disposition.CREATE:
            yield contradiction(place, f"its disposition is {own.disposition} without a source")
        return
    source = _source_of(own, case)
    if source is not None:
        yield from _beside_source(place, own, source, case)


def _unencrypted_from(place: Place, own: Assignment, case: ItemCase) -> Iterator[Finding]:
    """Judge what an item without a key says of the data that it was copied from."""
    said = (own.data_action, own.reencrypt_from)
    if said == (DataAction.NONE, None):
        return
    source = _source_of(own, case)
    is_decrypted = own.data_action is DataAction.DECRYPT and own.reencrypt_from is not None
    if not (is_decrypted and has_source(own)):
        yield contradiction(place, f"it is not encrypted, and its data_action is {said[0]}")
    elif source is not None and source.key_id != own.reencrypt_from:
        yield contradiction(place, f"its source {source.item.ref} has another key-id")


def _own_scope(place: Place, own: Assignment, case: ItemCase) -> Iterator[Finding]:
    if own.scope_id != scope_id_for(own.item, own.generation):
        yield contradiction(place, "it was created, but its scope is not its own")
    if own.source is None and (own.data_action, own.reencrypt_from) != (DataAction.NONE, None):
        yield contradiction(place, f"its data_action is {own.data_action} without a source")
    if isinstance(case.key, Sound) and case.key.value.cloned_from is not None:
        at_key = Place(place.project, "keys", str(own.key_id))
        yield contradiction(at_key, f"it was created for {own.item.ref}, and yet is a clone")


def _beside_source(
    place: Place, own: Assignment, source: Assignment, case: ItemCase
) -> Iterator[Finding]:
    name = f"its source {source.item.ref}"
    if own.disposition is Disposition.CREATE:
        yield from _created_from(place, own, source, case)
        return
    if source.item.project != own.item.project or source.scope_id != own.scope_id:
        yield contradiction(place, f"its disposition is {own.disposition}, but {name} has"
                             " another scope")  # fmt: skip
        return
    if own.disposition is Disposition.REUSE and own.key_id != source.key_id:
        yield contradiction(place, f"its disposition is reuse, but {name} has another key-id")
    if own.disposition is Disposition.CLONE:
        if own.key_id == source.key_id:
            yield contradiction(place, f"its disposition is clone, but {name} has its key-id")
        elif isinstance(case.key, Sound) and case.key.value.cloned_from != source.key_id:
            at_key = Place(place.project, "keys", str(own.key_id))
            says = f"it is {own.item.ref}'s, and yet no clone of {source.key_id}"
            yield contradiction(at_key, says)


def _created_from(
    place: Place, own: Assignment, source: Assignment, case: ItemCase
) -> Iterator[Finding]:
    action = DataAction.ENCRYPT if source.key_id is None else DataAction.REENCRYPT
    if (own.data_action, own.reencrypt_from) != (action, source.key_id):
        yield contradiction(place, f"what it says of its source's data is not {action} from"
                             f" {source.key_id}")  # fmt: skip
    if isinstance(case.scope, Sound) and case.scope.value.derived_from != source.scope_id:
        at_scope = Place(place.project, "scopes", str(own.scope_id))
        yield contradiction(at_scope, f"it is not derived from {source.scope_id}, where its"
                             " root's source is")  # fmt: skip
