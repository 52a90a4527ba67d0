"""The stages over the waiting room: the parked events, and what leads to them."""

from collections.abc import Iterable, Sequence

from kmworker.clock import Clock
from kmworker.store.reading import Named, StoreReader, text
from kmworker.verify.rules.opened import Flawed, Sound
from kmworker.verify.rules.waiting import EntryCase, entry_findings, member_findings, source_member
from kmworker.verify.scan.opening import Opening
from kmworker.verify.scan.stages import Judged, ScanStage

__all__ = ["WaitingStages"]

KEYS = ("parked", "waiting", "waiting:deadlines", "waiting:sources", "expired")


class WaitingStages:
    """Reads an entry from all of its keys, and has it judged."""

    def __init__(self, reader: StoreReader, opening: Opening, clock: Clock, waits_s: float) -> None:
        self._reader = reader
        self._opening = opening
        self._clock = clock
        self._waits_s = waits_s

    def stages(self) -> list[ScanStage]:
        """Return the stages, in order."""
        left = [
            ScanStage(self._reader, key, KEYS, self._judge_left)
            for key in ("waiting", "waiting:deadlines", "expired")
        ]
        return [
            ScanStage(self._reader, "parked", KEYS, self._judge_parked),
            *left,
            ScanStage(self._reader, "waiting:sources", KEYS, self._judge_members),
        ]

    def _judge_parked(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        cases = self._cases(project, (text(name) for name, _raw in page), atomic=atomic)
        return {entry.encode(): list(entry_findings(case)) for entry, case in cases.items()}

    def _judge_left(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        """Judge entries by what is left of them without their parked event."""
        cases = self._cases(project, (text(name) for name, _raw in page), atomic=atomic)
        return {
            entry.encode(): list(entry_findings(case))
            for entry, case in cases.items()
            if case.parked is None
        }

    def _judge_members(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        entries = {name: text(name).partition(" ")[2] for name, _score in page}
        cases = self._cases(project, entries.values(), atomic=atomic)
        return {
            name: list(member_findings(project, text(name), cases[entry]))
            for name, entry in entries.items()
        }

    def _cases(self, project: str, names: Iterable[str], *, atomic: bool) -> dict[str, EntryCase]:
        entries = list(dict.fromkeys(names))
        raws = self._reader.fetch(project, {"parked": entries})["parked"]
        opened = {entry: self._opening.parked(project, entry, raws[entry]) for entry in entries}
        members = {
            entry: source_member(parked.value.source, entry)
            for entry, parked in opened.items()
            if isinstance(parked, Sound)
        }
        wanted = dict.fromkeys(("parked", "waiting", "waiting:deadlines", "expired"), entries)
        wanted["waiting:sources"] = list(members.values())
        found = self._reader.fetch(project, wanted, atomic=atomic)
        now = self._clock.now()
        cases = {}
        for entry, parked in opened.items():
            # An event that is parked never changes; it may have left since.
            is_there = found["parked"][entry] is not None or isinstance(parked, Flawed)
            cases[entry] = EntryCase(
                project,
                entry,
                parked if is_there else None,
                found["waiting"][entry],
                found["waiting:deadlines"][entry],
                found["waiting:sources"].get(members.get(entry, "")) is not None,
                found["expired"][entry] is not None,
                now,
                self._waits_s,
            )
        return cases
