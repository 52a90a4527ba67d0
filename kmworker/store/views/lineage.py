"""One item, key-id or scope, and what belongs to it, as it lies in the store.

Records are shown as they are, checked or not: someone who looks for a damaged record
must not be refused the sight of it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kmworker.domain.model import KeyState, Kind, Place
from kmworker.store.connection import store_errors
from kmworker.store.counts import number_in
from kmworker.store.inspection import Views
from kmworker.store.item_records import RELEASED

__all__ = [
    "Derived", "Family", "Found", "Member", "Record", "data_in", "family_of", "find",
    "is_item_ref", "item_data", "json_object", "look_at", "state_in",
]  # fmt: skip

MAX_MEMBERS: Final = 1000
# There is no index of scopes by what they were derived from; above this, looking through
# them all would hold up the workers.
MAX_SCOPES_SEARCHED: Final = 5000
ITEMS, KEYS, SCOPES = "items", "keys", "scopes"


@dataclass(frozen=True, slots=True)
class Record:
    """A record and where it lies."""

    place: Place
    raw: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """What it says; empty if it is no JSON object."""
        return json_object(self.raw)

    @property
    def data(self) -> dict[str, Any]:
        """Of an item's record: the announcement's data."""
        return item_data(self.raw)


@dataclass(frozen=True, slots=True)
class Found:
    """What was asked for, with the records it stands on."""

    project: str
    item: Record | None
    key: Record | None
    scope: Record | None
    holders: int
    """How many items hold the key-id."""

    @property
    def key_state(self) -> str:
        """The key-id's state; empty without its record."""
        if self.key is None:
            return ""
        return state_in(self.key.fields, {} if self.scope is None else self.scope.fields)


@dataclass(frozen=True, slots=True)
class Member:
    """An item of a scope."""

    ref: str
    record: Record | None
    """None if the lineage names an item that has no record."""
    key_state: str

    @property
    def data(self) -> dict[str, Any]:
        """The announcement's data."""
        return {} if self.record is None else self.record.data

    @property
    def is_released(self) -> bool:
        """Whether it is gone."""
        return self.record is not None and self.record.fields.get("state") == RELEASED

    def source_in(self, project: str) -> str:
        """Return the item ref of its source, empty where it has none in this project."""
        source = self.data.get("source")
        if not isinstance(source, dict) or source.get("project_id") != project:
            return ""
        return f"{source.get('kind')}:{source.get('id')}"


@dataclass(frozen=True, slots=True)
class Derived:
    """A scope whose data was re-encrypted from an item of another one."""

    scope_id: str
    root: str
    source_ref: str
    """Empty if its root's record does not say."""


@dataclass(frozen=True, slots=True)
class Family:
    """A scope's items, at most `MAX_MEMBERS`, and the scopes derived from it."""

    members: list[Member]
    more: int
    """How many items there are beyond these."""
    derived: list[Derived] | None
    """In the same project; None where there are too many scopes to look through."""


def _no_constant(name: str) -> None:
    # A program that is given one could read nothing of the document.
    raise ValueError(f"{name} is not JSON")


def json_object(raw: bytes) -> dict[str, Any]:
    """Return what a record says; empty if it is no JSON object."""
    try:
        parsed = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def item_data(raw: bytes) -> dict[str, Any]:
    """Return the announcement's data in an item's record; empty if the record is damaged."""
    return data_in(json_object(raw))


def data_in(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the announcement's data in what an item's record says; empty where there is none."""
    data = record.get("data")
    return data if isinstance(data, dict) else {}


def state_in(key: Mapping[str, Any], scope: Mapping[str, Any]) -> str:
    """Return a key-id's state by what both records say: the worse of its own and its scope's."""
    own = str(key.get("state"))
    is_compromised = scope.get("compromised") is not None and own != KeyState.DESTROYED
    return KeyState.COMPROMISED.value if is_compromised else own


def is_item_ref(name: str) -> bool:
    """Return whether this is ``kind:id`` and no key-id or scope-id."""
    kind, _colon, identifier = name.partition(":")
    return bool(identifier) and kind in {k.value for k in Kind if k is not Kind.IMAGE}


def find(views: Views, name: str, projects: Iterable[str]) -> list[Place]:
    """Return where there is an item, key-id or scope of this name."""
    keys = (ITEMS,) if is_item_ref(name) else (KEYS, SCOPES)
    return views.where_is(Place(project, key, name) for project in projects for key in keys)


def look_at(views: Views, place: Place) -> Found:
    """Read what is at a place, and what that stands on."""
    item = key = scope = None
    scope_id = key_id = ""
    if place.key == ITEMS:
        item = _record(views, place.project, ITEMS, place.field)
        data = {} if item is None else item.data
        key_id, scope_id = str(data.get("key_id") or ""), str(data.get("scope_id") or "")
    elif place.key == KEYS:
        key_id = place.field
    else:
        scope_id = place.field
    if key_id:
        key = _record(views, place.project, KEYS, key_id)
        scope_id = scope_id or str(({} if key is None else key.fields).get("scope_id") or "")
    if scope_id:
        scope = _record(views, place.project, SCOPES, scope_id)
    return Found(place.project, item, key, scope, _holders(views, place.project, key_id))


def family_of(views: Views, project: str, scope_id: str) -> Family:
    """Read a scope's items and what was derived from it."""
    refs, total = _refs(views, project, scope_id)
    records = _records(views, project, ITEMS, refs)
    key_ids = sorted({str(record.data.get("key_id")) for record in records.values()})
    keys = _records(views, project, KEYS, key_ids)
    scope = _record(views, project, SCOPES, scope_id)
    said = {} if scope is None else scope.fields
    states = {key_id: state_in(key.fields, said) for key_id, key in keys.items()}
    members = [_member(ref, records.get(ref), states) for ref in refs]
    return Family(members, total - len(refs), _derived(views, project, scope_id))


def _refs(views: Views, project: str, scope_id: str) -> tuple[list[str], int]:
    key = views.names.of(project, "lineage")
    low, high = f"[{scope_id} ", f"({scope_id}!"
    with store_errors():
        total = int(views.client.zlexcount(key, low, high))
        found = views.client.zrangebylex(key, low, high, start=0, num=MAX_MEMBERS)
    refs = [name.decode(errors="replace").removeprefix(f"{scope_id} ") for name in found]
    return refs, max(total, len(refs))


def _member(ref: str, record: Record | None, states: Mapping[str, str]) -> Member:
    key_id = "" if record is None else str(record.data.get("key_id"))
    return Member(ref, record, states.get(key_id, "missing"))


def _derived(views: Views, project: str, scope_id: str) -> list[Derived] | None:
    if views.count(project, SCOPES) > MAX_SCOPES_SEARCHED:
        return None
    roots: dict[str, str] = {}
    for page in views.all_records(project, SCOPES):
        for found_id, raw in page:
            fields = Record(Place(project, SCOPES, found_id), raw).fields
            if fields.get("derived_from") == scope_id:
                roots[found_id] = str(fields.get("root"))
    records = _records(views, project, ITEMS, list(roots.values()))
    return [
        Derived(found_id, root, _member(root, records.get(root), {}).source_in(project))
        for found_id, root in sorted(roots.items(), key=lambda pair: pair[1])
    ]


def _holders(views: Views, project: str, key_id: str) -> int:
    found = views.records(project, "holders", [key_id])[0] if key_id else None
    return number_in(found) or 0


def _record(views: Views, project: str, key: str, field: str) -> Record | None:
    return _records(views, project, key, [field]).get(field)


def _records(views: Views, project: str, key: str, fields: Sequence[str]) -> dict[str, Record]:
    found = views.records(project, key, fields)
    return {
        field: Record(Place(project, key, field), raw)
        for field, raw in zip(fields, found, strict=True)
        if raw is not None
    }
