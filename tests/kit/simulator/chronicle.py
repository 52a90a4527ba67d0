"""What was ever in the store: looked at after each command that writes, and held to its past.

It knows the contract's records and nothing of what wrote them. What somebody else has put
there or taken away is not held against anybody: `forgive` takes it as it is.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kmworker.store.names import Names
from tests.kit.checker.states import (
    DESTROYED,
    grants_change,
    item_change,
    key_change,
    let_go_of,
    lives_of,
    names_missing,
    own_state,
    scope_change,
)
from tests.kit.simulator.invariants import Invariant
from tests.kit.store.direct import Keyspace

# Commands that write what is looked at.
WRITING: Final = frozenset(("commit", "change", "destroy", "forget", "hdel", "rewrap"))
TABLES: Final = ("items", "keys", "scopes", "deks", "outbox", "grants")

OF_KEKS: Final = re.compile(rb'"kek_id":"[0-9a-f]*",|,"former_keks":\[[^]]*\]')
Record = dict[str, Any]
Life = tuple[str, str, int]
"""Project, item ref, and which life of that name."""
Version = tuple[str, str, int]
"""Project, key-id, and the number of its change."""
Raw = dict[str, bytes]


@dataclass(slots=True)
class Past:
    """What was ever stored of one project."""

    rows: dict[str, Raw] = field(default_factory=lambda: {name: {} for name in TABLES})
    """As they were after the last command that wrote."""


class Chronicle:
    """The notes on one store.

    Attributes:
        data: what each life of each item was assigned, as it is announced.
        ends: which lives of an item a release tells of, by item, key-id and time.
        over: for each item the newest life that was ever released.
        newest: for each item the newest life that was ever heard of.
        versions: what each change of each key-id was stored as.
        attachments: what was ever stored of each attachment of an item.
        kept: changes that are in an outbox.
        is_miscounted: whether someone has made a counter say something else.
        forgotten: items of which the store has once forgotten all: what comes of such a name
            afterwards is news to it, and may be told otherwise than before.
        on_forgotten: called with each of these, its project and ref.
    """

    def __init__(
        self, keyspace: Keyspace, names: Names, violated: Callable[[Invariant, str], None]
    ) -> None:
        self.data: dict[Life, Record] = {}
        self.ends: dict[tuple[str, str, str | None, str], int] = {}
        self.over: dict[tuple[str, str], int] = {}
        self.newest: dict[tuple[str, str], int] = {}
        self.versions: dict[Version, bytes] = {}
        self.attachments: dict[tuple[str, str, str], Record] = {}
        self.kept: set[Version] = set()
        self.forgotten: set[tuple[str, str]] = set()
        self.on_forgotten: Callable[[str, str], None] = lambda _project, _ref: None
        self.open_dek: Callable[[str, str, Record, bytes], bytes] = lambda *given: given[-1]
        """Opens a wrapped DEK of a project and scope, whichever KEK it is under."""
        self.is_miscounted = False
        self._keyspace = keyspace
        self._names = names
        self._violated = violated
        self._past: defaultdict[str, Past] = defaultdict(Past)

    def look(self, command: str) -> set[Version]:
        """Look at what a command has written; return the changes that have left an outbox."""
        if command not in WRITING:
            return set()
        before = set(self.kept)
        for project in self._projects():
            past, now = self._past[project], self._rows(project)
            if now == past.rows:
                continue
            for invariant, detail in self._wrong(project, past.rows, now):
                self._violated(invariant, f"{project} after {command}: {detail}")
            self._take(project, past, now)
        return before - self.kept

    def forgive(self) -> None:
        """Take what is there as it is."""
        for project in self._projects():
            past, now = self._past[project], self._rows(project)
            # What somebody has taken away was not forgotten.
            past.rows["items"] = {it: past.rows["items"].get(it, b"") for it in now["items"]}
            self._take(project, past, now)

    def is_destroyed(self, project: str, key_id: str) -> bool:
        """Return whether a key-id was destroyed, or is forgotten since."""
        raw = self._past[project].rows["keys"].get(key_id)
        return raw is None or own_state(json.loads(raw)) == DESTROYED

    # --- inside -------------------------------------------------------------------

    def _projects(self) -> Iterator[str]:
        names = self._keyspace.members(self._names.top("projects"))
        return (name.decode() for name in sorted(names))

    def _rows(self, project: str) -> dict[str, Raw]:
        found = {}
        for table in TABLES:
            key = self._names.of(project, table)
            found[table] = {name.decode(): raw for name, raw in self._keyspace.pairs(key)}
        # What a record says and what a DEK is, and not which KEK they are under.
        scopes = _parsed(found["scopes"])
        found["deks"] = {
            scope_id: self.open_dek(project, scope_id, scopes[scope_id], blob)
            for scope_id, blob in found["deks"].items()
            if scope_id in scopes
        }
        for table in found.keys() - {"deks"}:
            found[table] = {name: _said(raw) for name, raw in found[table].items()}
        return found

    def _take(self, project: str, past: Past, now: dict[str, Raw]) -> None:
        for ref, raw in now["items"].items():
            if past.rows["items"].get(ref) != raw:
                self._note_item(project, ref, json.loads(raw))
        for ref, raw in _new(past.rows["grants"], now["grants"]):
            for it in json.loads(raw)["attachments"]:
                self.attachments[project, ref, it["id"]] = it
        for ref in past.rows["items"].keys() - now["items"].keys():
            self._forget(project, ref)
        self.kept = {it for it in self.kept if it[0] != project}
        for name in now["outbox"]:
            key_id, _space, version = name.partition(" ")
            self.kept.add((project, key_id, int(version)))
        past.rows = now

    def _note_item(self, project: str, ref: str, record: Record) -> None:
        item = project, ref
        lives = lives_of(record)
        if lives.assigned is not None:
            self.data[project, ref, lives.assigned] = record["data"]
        for key_id, generation, at in lives.ends:
            end = project, ref, key_id, at
            self.ends[end] = max(generation, self.ends.get(end, 0))
            self.over[item] = max(generation, self.over.get(item, generation))
        self.newest[item] = max(lives.newest, self.newest.get(item, lives.newest))

    def _forget(self, project: str, ref: str) -> None:
        """Whatever comes of that name from here on is news to the store."""
        item = project, ref
        self.forgotten.add(item)
        self.over.pop(item, None)
        self.newest.pop(item, None)
        self.on_forgotten(project, ref)

    def _wrong(
        self, project: str, before: Mapping[str, Raw], now: Mapping[str, Raw]
    ) -> Iterator[tuple[Invariant, str]]:
        after = {name: _parsed(now[name]) for name in ("items", "keys", "scopes", "grants")}
        yield from self._changes(project, before, now)
        for ref, what in names_missing(after, now["deks"].keys()):
            yield Invariant.HELD, f"{ref} {what}"
        let_go = let_go_of(_parsed(before["keys"]), after)
        for key_id in () if self.is_miscounted else let_go:
            yield Invariant.HELD, f"{key_id} is deactivated, and somebody holds it"
        yield from ((Invariant.IMMUTABLE, it) for it in _lost(before, now, after))

    def _changes(
        self, project: str, before: Mapping[str, Raw], now: Mapping[str, Raw]
    ) -> Iterator[tuple[Invariant, str]]:
        """Hold key-ids to their past: each version is kept for whoever tells of it."""
        for name, raw in _new(before["outbox"], now["outbox"]):
            key_id, _space, version = name.partition(" ")
            said = self.versions.setdefault((project, key_id, int(version)), raw)
            if said != raw or json.loads(raw)["version"] != int(version):
                yield Invariant.TOLD, f"{name} is in the outbox in another form"
        for key_id, raw in _new(before["keys"], now["keys"]):
            was, record = _row(before["keys"], key_id), json.loads(raw)
            first = 1 if was is None else was["version"]
            for number in range(first + 1, record["version"] + 1):
                if (project, key_id, number) not in self.versions:
                    yield Invariant.TOLD, f"change {number} of {key_id} is in no outbox"
            if (
                record["version"] > 1
                and self.versions.get((project, key_id, record["version"]), raw) != raw
            ):
                yield Invariant.TOLD, f"{key_id} is stored otherwise than it is told"
        for key_id, record in _changed(before["keys"], now["keys"]):
            if (wrong := key_change(_row(before["keys"], key_id), record)) is not None:
                yield Invariant.IMMUTABLE, f"key-id {key_id} {wrong}"


def _lost(
    before: Mapping[str, Raw], now: Mapping[str, Raw], after: Mapping[str, dict[str, Record]]
) -> Iterator[str]:
    """Give what is not as it was and should be."""
    for scope_id, scope in after["scopes"].items():
        if scope["root"] in before["items"].keys() - now["items"].keys():
            yield f"the root of scope {scope_id} is gone"
    yield from _lost_grants(before, now)
    for scope_id, blob in before["deks"].items():
        if now["deks"].get(scope_id, blob) != blob:
            yield f"the DEK of scope {scope_id} is another"
    for ref, record in _changed(before["items"], now["items"]):
        if (wrong := item_change(_row(before["items"], ref), record, after)) is not None:
            yield f"{ref} {wrong}"
    for scope_id, record in _changed(before["scopes"], now["scopes"]):
        if (wrong := scope_change(_row(before["scopes"], scope_id), record)) is not None:
            yield f"scope {scope_id} {wrong}"


def _lost_grants(before: Mapping[str, Raw], now: Mapping[str, Raw]) -> Iterator[str]:
    for ref, record in _changed(before["grants"], now["grants"]):
        if (wrong := grants_change(_row(before["grants"], ref), record)) is not None:
            yield f"{ref} {wrong}"
        if record is None and ref in now["items"]:
            yield f"what was attached of {ref} is gone"


def _said(raw: bytes) -> bytes:
    body, _opening, _seal = raw.rpartition(b',"seal":"v2.')
    return OF_KEKS.sub(b"", body) + b"}" if body else raw


def _parsed(rows: Raw) -> dict[str, Record]:
    return {name: json.loads(raw) for name, raw in rows.items()}


def _row(rows: Raw, name: str) -> Record | None:
    return json.loads(rows[name]) if name in rows else None


def _new(before: Raw, now: Raw) -> Iterator[tuple[str, bytes]]:
    return ((name, raw) for name, raw in now.items() if before.get(name) != raw)


def _changed(before: Raw, now: Raw) -> Iterator[tuple[str, Record | None]]:
    """Give the rows that are not as they were, None for one that is gone."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield name, _row(now, name)
