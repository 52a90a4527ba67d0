"""The stages over items, keys, scopes, wrapped DEKs and lineage."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kmworker.domain.model import Item, ItemRecord, Kind, Place
from kmworker.errors import PermanentError
from kmworker.store.connection import store_errors
from kmworker.store.reading import Named, StoreReader, text
from kmworker.verify.rules.findings import Finding, Problem
from kmworker.verify.rules.opened import Flawed, Opened, Sound
from kmworker.verify.rules.records import (
    ItemCase,
    KeyCase,
    ScopeCase,
    item_findings,
    key_findings,
    lineage_findings,
    lineage_member,
    scope_findings,
)
from kmworker.verify.scan.opening import Opening
from kmworker.verify.scan.stages import Judged, ScanStage

__all__ = ["RecordStages"]


class RecordStages:
    """Reads what each record names, and has it judged."""

    def __init__(self, reader: StoreReader, opening: Opening) -> None:
        self._reader = reader
        self._opening = opening

    def stages(self) -> list[ScanStage]:
        """Return the stages, in order."""
        return [
            ScanStage(
                self._reader, "items", ("items", "keys", "scopes", "lineage"), self._judge_items
            ),
            ScanStage(self._reader, "keys", ("keys", "scopes"), self._judge_keys),
            ScanStage(self._reader, "scopes", ("scopes", "items", "deks"), self._judge_scopes),
            ScanStage(self._reader, "deks", ("deks", "scopes", "lineage"), self._judge_deks),
            ScanStage(self._reader, "lineage", ("lineage", "items"), self._judge_lineage),
        ]

    def _judge_items(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        opening = self._opening
        opened = {name: opening.item(project, text(name), raw) for name, raw in page}
        sound = [own.value.assignment for own in opened.values() if isinstance(own, Sound)]
        known = [own for own in sound if own is not None]
        keyed = [own for own in known if own.key_id and own.scope_id]
        found = self._reader.fetch(
            project,
            {
                "keys": [str(own.key_id) for own in keyed],
                "scopes": [str(own.scope_id) for own in keyed],
                "lineage": [lineage_member(str(o.scope_id), o.item.ref) for o in keyed],
            },
            atomic=atomic,
        )
        keys = {k: opening.key(project, k, raw) for k, raw in found["keys"].items()}
        scopes = {s: opening.scope(project, s, raw) for s, raw in found["scopes"].items()}
        sources = self._items(own.source for own in known if own.source is not None)
        judged: Judged = {}
        for name, own in opened.items():
            case = ItemCase(project, text(name), own)
            if isinstance(own, Sound) and (a := own.value.assignment) is not None:
                case = replace(
                    case,
                    key=keys.get(str(a.key_id)),
                    scope=scopes.get(str(a.scope_id)),
                    source=None if a.source is None else sources.get(a.source),
                    score=found["lineage"].get(lineage_member(str(a.scope_id), a.item.ref)),
                )
            judged[name] = list(item_findings(case))
        return judged

    def _judge_keys(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        opening = self._opening
        opened = {name: opening.key(project, text(name), raw) for name, raw in page}
        known = [own.value for own in opened.values() if isinstance(own, Sound)]
        found = self._reader.fetch(
            project,
            {
                "scopes": [own.scope_id for own in known],
                "keys": [own.cloned_from for own in known if own.cloned_from is not None],
            },
            atomic=atomic,
        )
        scopes = {s: opening.scope(project, s, raw) for s, raw in found["scopes"].items()}
        others = {k: opening.key(project, k, raw) for k, raw in found["keys"].items()}
        judged: Judged = {}
        for name, own in opened.items():
            case = KeyCase(project, text(name), own)
            if isinstance(own, Sound):
                scope, origin = own.value.scope_id, own.value.cloned_from
                case = KeyCase(project, text(name), own, scopes[scope], others.get(str(origin)))
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
                root = opening.item(project, own.value.root, items[own.value.root])
                dek = opening.dek(project, own.value, found["deks"][scope_id])
                case = ScopeCase(project, scope_id, own, root, dek)
            judged[scope_id.encode()] = list(scope_findings(case))
        return judged

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

    def _judge_lineage(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        refs = {name: text(name).partition(" ")[2] for name, _score in page}
        found = self._reader.fetch(project, {"items": refs.values()}, atomic=atomic)["items"]
        return {
            name: list(
                lineage_findings(project, text(name), self._opening.item(project, ref, found[ref]))
            )
            for name, ref in refs.items()
        }

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
