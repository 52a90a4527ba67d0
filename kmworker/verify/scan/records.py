"""The stages over items, keys, scopes and wrapped DEKs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kmworker.clock import Clock
from kmworker.domain.model import Assignment, Item, ItemRecord, Kind, Place
from kmworker.errors import PermanentError
from kmworker.store.connection import store_errors
from kmworker.store.reading import Named, StoreReader, text
from kmworker.verify.rules.findings import Finding, Problem
from kmworker.verify.rules.indexes import lineage_member
from kmworker.verify.rules.keys import KeyCase, ScopeCase, key_findings, scope_findings
from kmworker.verify.rules.opened import Flawed, Opened, Sound
from kmworker.verify.rules.records import (
    PRESENT,
    Absence,
    ItemCase,
    item_findings,
    item_named,
    scope_of_source,
)
from kmworker.verify.scan.absence import absence_of
from kmworker.verify.scan.opening import Opening
from kmworker.verify.scan.stages import Judged, ScanStage, fetched

__all__ = ["RecordStages"]


class RecordStages:
    """Reads what each record names, and has it judged."""

    def __init__(self, reader: StoreReader, opening: Opening, clock: Clock) -> None:
        self._reader = reader
        self._opening = opening
        self._clock = clock

    def stages(self) -> list[ScanStage]:
        """Return the stages, in order."""
        reader = self._reader
        of_items = ("items", "keys", "scopes", "lineage", "tombstones")
        return [
            ScanStage(reader, "items", of_items, self._judge_items),
            ScanStage(reader, "keys", ("keys", "scopes", "keys:due"), self._judge_keys),
            ScanStage(reader, "scopes", ("scopes", "items", "deks"), self._judge_scopes),
            ScanStage(reader, "deks", ("deks", "scopes", "lineage"), self._judge_deks),
        ]

    def _judge_items(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        opening = self._opening
        opened = {name: opening.item(project, text(name), raw) for name, raw in page}
        known = [own.value.assignment for own in opened.values() if isinstance(own, Sound)]
        keyed = [own for own in known if own is not None and own.key_id and own.scope_id]
        wanted = {
            "keys": [str(own.key_id) for own in keyed],
            "scopes": [str(own.scope_id) for own in keyed],
            "lineage": [lineage_member(str(own.scope_id), own.item.ref) for own in keyed],
            "tombstones": [
                text(name)
                for name, own in opened.items()
                if isinstance(own, Sound) and own.value.tombstone is not None
            ],
        }
        page, found = fetched(self._reader, project, "items", page, wanted, atomic=atomic)
        keys = {k: opening.key(project, k, raw) for k, raw in found["keys"].items()}
        scopes = {s: opening.scope(project, s, raw) for s, raw in found["scopes"].items()}
        sources = self._items(own.source for own in known if own is not None and own.source)
        judged: Judged = {}
        for name, _raw in page:
            own = opened[name]
            case = ItemCase(project, text(name), own)
            if isinstance(own, Sound):
                case = replace(case, gone_at=found["tombstones"].get(case.ref))
                if (a := own.value.assignment) is not None:
                    case = replace(
                        case,
                        key=keys.get(str(a.key_id)),
                        scope=scopes.get(str(a.scope_id)),
                        score=found["lineage"].get(lineage_member(str(a.scope_id), a.item.ref)),
                    )
                    case = self._with_source(case, a, sources)
            judged[name] = list(item_findings(case))
        return judged

    def _with_source(
        self, case: ItemCase, own: Assignment, sources: Mapping[Item, Opened[ItemRecord]]
    ) -> ItemCase:
        if own.source is None or own.source.kind is Kind.IMAGE:
            return case
        source = sources.get(own.source)
        if source is not None:
            return replace(case, source=source)
        absence = absence_of(self._reader, own.source, scope_of_source(own, case.scope))
        return replace(case, absence=absence)

    def _judge_keys(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        opening = self._opening
        opened = {name: opening.key(project, text(name), raw) for name, raw in page}
        known = [own.value for own in opened.values() if isinstance(own, Sound)]
        wanted = {
            "scopes": [own.scope_id for own in known],
            "keys": [own.cloned_from for own in known if own.cloned_from is not None],
            "keys:due": [own.key_id for own in known],
        }
        page, found = fetched(self._reader, project, "keys", page, wanted, atomic=atomic)
        # By now, what was due then may be done.
        now = self._clock.now()
        scopes = {s: opening.scope(project, s, raw) for s, raw in found["scopes"].items()}
        origins = {
            own.cloned_from: opening.key(project, own.cloned_from, found["keys"][own.cloned_from])
            for own in known
            if own.cloned_from is not None
        }
        judged: Judged = {}
        for name, _raw in page:
            own = opened[name]
            case = KeyCase(project, text(name), own, now=now)
            if isinstance(own, Sound):
                case = replace(
                    case,
                    scope=scopes[own.value.scope_id],
                    cloned_from=origins.get(own.value.cloned_from or ""),
                    due=found["keys:due"][case.key_id],
                )
            judged[name] = list(key_findings(case))
        return judged

    def _judge_scopes(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        opening = self._opening
        raws = {text(name): raw for name, raw in page}
        # To be sure, both are read once more together: a rewrap changes them in one step.
        wanted = {"scopes": list(raws), "deks": list(raws)} if atomic else {"deks": list(raws)}
        found = self._reader.fetch(project, wanted, atomic=atomic)
        raws = found.get("scopes", raws)
        opened = {s: opening.scope(project, s, raw) for s, raw in raws.items() if raw is not None}
        roots = [own.value.root for own in opened.values() if isinstance(own, Sound)]
        items = self._reader.fetch(project, {"items": roots})["items"]
        judged: Judged = {}
        for scope_id, own in opened.items():
            case = ScopeCase(project, scope_id, own)
            if isinstance(own, Sound):
                case = ScopeCase(
                    project,
                    scope_id,
                    own,
                    opening.item(project, own.value.root, items[own.value.root]),
                    opening.dek(project, own.value, found["deks"][scope_id]),
                    self._absence_of_root(project, own.value.root, scope_id, items),
                )
            judged[scope_id.encode()] = list(scope_findings(case))
        return judged

    def _absence_of_root(
        self, project: str, root: str, scope_id: str, items: Mapping[str, bytes | None]
    ) -> Absence:
        item = item_named(project, root)
        if item is None or items[root] is not None:
            return PRESENT
        return absence_of(self._reader, item, scope_id)

    def _judge_deks(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        names = [text(name) for name, _raw in page]
        scopes = self._reader.fetch(project, {"scopes": names}, atomic=atomic)["scopes"]
        judged: Judged = {}
        for scope_id in names:
            # Where items are of the scope, they have said that its record is missing.
            if scopes[scope_id] is None and not self._has_members(project, scope_id):
                place = Place(project, "deks", scope_id)
                says = "there is no such scope"
                judged[scope_id.encode()] = [Finding(Problem.DEK_UNUSED, place, says)]
        return judged

    def _items(self, wanted: Iterable[Item]) -> dict[Item, Opened[ItemRecord]]:
        """Return what is known of items, of whatever project; images have no record."""
        shares: defaultdict[str, set[Item]] = defaultdict(set)
        for item in wanted:
            if item.kind is not Kind.IMAGE:
                shares[item.project].add(item)
        known: dict[Item, Opened[ItemRecord]] = {}
        for project, share in shares.items():
            refs = [item.ref for item in share]
            try:
                found = self._reader.fetch(project, {"items": refs})["items"]
            except PermanentError as unreadable:
                # Another project's, of the wrong type: in its turn that is a finding.
                flaw = Flawed(Problem.WRONG_TYPE, unreadable.detail)
                known.update(dict.fromkeys(share, flaw))
                continue
            for item in share:
                known[item] = self._opening.item(project, item.ref, found[item.ref])
        return known

    def _has_members(self, project: str, scope_id: str) -> bool:
        name = self._reader.names.of(project, "lineage")
        with store_errors():
            return bool(self._reader.client.zlexcount(name, f"[{scope_id} ", f"({scope_id}!"))
