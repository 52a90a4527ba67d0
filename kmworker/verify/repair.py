"""Findings to changes of indexes and counters, each made only where it still holds."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, assert_never

from kmworker.errors import PermanentError
from kmworker.store.connection import Client, store_errors
from kmworker.store.names import Names
from kmworker.store.scripts import Scripts
from kmworker.verify.rules.findings import (
    CountRepair,
    Finding,
    IndexRepair,
    ListingRepair,
    Repair,
    ShareRepair,
    SourceRepair,
    WaitingRepair,
)

__all__ = ["Repairer"]

REPAIR_KEYS: Final = (
    "items", "parked", "lineage", "holders", "stats",
    "waiting", "waiting:deadlines", "waiting:sources", "waiting:shares",
    "keys", "keys:due", "tombstones", "clones",
)  # fmt: skip


class Repairer:
    """Puts indexes and counters right, and touches nothing else."""

    def __init__(self, client: Client, names: Names) -> None:
        self._client: Any = client  # its types want bytes where it takes str
        self._names = names
        self._scripts = Scripts(client)

    def repair(self, findings: Sequence[Finding]) -> set[Finding]:
        """Put right what can be; return what was.

        Raises:
            StoreUnavailable: the store is not there or refuses; some may be done.
        """
        done: set[Finding] = set()
        shares: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            if isinstance(finding.repair, ListingRepair):
                self._list(finding.place.project)
                done.add(finding)
            elif finding.repair is not None:
                shares[finding.place.project].append(finding)
        for project, share in shares.items():
            done |= self._mend_project(project, share)
        return done

    def _list(self, project: str) -> None:
        with store_errors():
            self._client.sadd(self._names.top("projects"), project)

    def _mend_project(self, project: str, share: Sequence[Finding]) -> set[Finding]:
        argv = [part for it in share if it.repair is not None for part in _arguments(it.repair)]
        keys = self._names.all_of(project, *REPAIR_KEYS)
        try:
            (made,) = self._scripts.run([("repair", keys, argv)])
        except PermanentError:
            # One of the keys is of the wrong type, which is a finding of its own.
            return set()
        return {finding for finding, is_made in zip(share, made, strict=True) if is_made}


def _arguments(repair: Repair) -> list[Any]:
    """Return one change for `repair.lua`."""
    match repair:
        case IndexRepair():
            score = "" if repair.score is None else repair.score
            of = repair.name, repair.record or b""
            return ["I", repair.index, repair.member, *of, score, ""]
        case CountRepair():
            before = b"" if repair.before is None else b"=" + repair.before
            counted = repair.counted, repair.length
            return ["C", repair.key, repair.field, before, repair.after, *counted]
        case WaitingRepair():
            deadline = "" if repair.deadline is None else f"{repair.deadline:.3f}"
            shown, member = repair.waiting or "", repair.member or ""
            return ["W", repair.entry, repair.parked, shown, deadline, member, ""]
        case SourceRepair():
            return ["S", repair.entry, repair.parked or b"", repair.member, "", "", ""]
        case ShareRepair():
            before = b"" if repair.before is None else b"=" + repair.before
            after = repair.after or b"0"
            return ["C", "waiting:shares", repair.project, before, after, "parked", repair.parked]
        case ListingRepair():
            raise ValueError("the list of projects is in another slot")
    assert_never(repair)
