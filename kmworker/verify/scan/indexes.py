"""The stages over the indexes of records, and over what is to be announced."""

from collections.abc import Sequence

from kmworker.domain.model import KeyRecord
from kmworker.store.reading import Named, StoreReader, text
from kmworker.verify.rules.grants import grants_findings, unrecorded_findings
from kmworker.verify.rules.indexes import (
    due_member_findings,
    lineage_member_findings,
    tombstone_member_findings,
)
from kmworker.verify.rules.keys import outbox_findings
from kmworker.verify.rules.opened import Opened
from kmworker.verify.scan.opening import Opening
from kmworker.verify.scan.stages import Judged, ScanStage, fetched

__all__ = ["IndexStages"]


class IndexStages:
    """Reads what each member names, and has it judged."""

    def __init__(self, reader: StoreReader, opening: Opening) -> None:
        self._reader = reader
        self._opening = opening

    def stages(self) -> list[ScanStage]:
        """Return the stages, in order."""
        reader = self._reader
        return [
            ScanStage(reader, "lineage", ("lineage", "items"), self._judge_lineage),
            ScanStage(reader, "tombstones", ("tombstones", "items"), self._judge_tombstones),
            ScanStage(reader, "keys:due", ("keys:due", "keys"), self._judge_due),
            ScanStage(reader, "outbox", ("outbox", "keys"), self._judge_outbox),
            ScanStage(reader, "grants", ("grants",), self._judge_grants),
            ScanStage(reader, "unrecorded", ("unrecorded",), self._judge_unrecorded),
        ]

    def _judge_lineage(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        refs = {name: text(name).partition(" ")[2] for name, _score in page}
        wanted = {"items": list(refs.values())}
        page, found = fetched(self._reader, project, "lineage", page, wanted, atomic=atomic)
        return {
            name: list(
                lineage_member_findings(
                    project,
                    text(name),
                    self._opening.item(project, refs[name], found["items"][refs[name]]),
                )
            )
            for name, _score in page
        }

    def _judge_tombstones(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        wanted = {"items": [text(name) for name, _score in page]}
        page, found = fetched(self._reader, project, "tombstones", page, wanted, atomic=atomic)
        judged: Judged = {}
        for name, _score in page:
            item = self._opening.item(project, text(name), found["items"][text(name)])
            judged[name] = list(tombstone_member_findings(project, text(name), item))
        return judged

    def _judge_due(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        wanted = {"keys": [text(name) for name, _score in page]}
        page, found = fetched(self._reader, project, "keys:due", page, wanted, atomic=atomic)
        judged: Judged = {}
        for name, _score in page:
            key = self._key(project, text(name), found["keys"][text(name)])
            judged[name] = list(due_member_findings(project, text(name), key))
        return judged

    def _judge_outbox(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        key_ids = {name: text(name).partition(" ")[0] for name, _raw in page}
        wanted = {"keys": list(key_ids.values())}
        page, found = fetched(self._reader, project, "outbox", page, wanted, atomic=atomic)
        judged: Judged = {}
        for name, raw in page:
            key_id = key_ids[name]
            own = self._key(project, key_id, raw)
            present = self._key(project, key_id, found["keys"][key_id])
            judged[name] = list(outbox_findings(project, text(name), own, present))
        return judged

    def _judge_grants(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        page, _found = fetched(self._reader, project, "grants", page, {}, atomic=atomic)
        return {
            name: list(
                grants_findings(project, text(name), self._opening.grants(project, text(name), raw))
            )
            for name, raw in page
        }

    def _judge_unrecorded(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        page, _found = fetched(self._reader, project, "unrecorded", page, {}, atomic=atomic)
        judged: Judged = {}
        for name, raw in page:
            own = self._opening.unrecorded(project, text(name), raw)
            judged[name] = list(unrecorded_findings(project, text(name), own))
        return judged

    def _key(self, project: str, key_id: str, raw: bytes | None) -> Opened[KeyRecord]:
        return self._opening.key(project, key_id, raw)
