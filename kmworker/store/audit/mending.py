"""Findings to changes of indexes and counters, each made only where it still holds."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, assert_never

from kmworker.audit.findings import (
    CountMend,
    Finding,
    LineageMend,
    ListingMend,
    Mend,
    SourceMend,
    WaitingMend,
)
from kmworker.errors import PermanentError
from kmworker.store.connection import Client, store_errors
from kmworker.store.names import Names
from kmworker.store.scripts import Scripts

__all__ = ["Mender"]

MEND_KEYS: Final = (
    "items", "parked", "lineage", "holders", "stats",
    "waiting", "waiting:deadlines", "waiting:sources",
)  # fmt: skip


class Mender:
    """Puts indexes and counters right, and touches nothing else."""

    def __init__(self, client: Client, names: Names) -> None:
        self._client: Any = client  # its types want bytes where it takes str
        self._names = names
        self._scripts = Scripts(client)

    def mend(self, findings: Sequence[Finding]) -> set[Finding]:
        """Put right what can be; return what was.

        Raises:
            StoreUnavailable: the store is not there or refuses; some may be done.
        """
        done: set[Finding] = set()
        shares: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            if isinstance(finding.mend, ListingMend):
                self._list(finding.place.project)
                done.add(finding)
            elif finding.mend is not None:
                shares[finding.place.project].append(finding)
        for project, share in shares.items():
            done |= self._mend_project(project, share)
        return done

    def _list(self, project: str) -> None:
        with store_errors():
            self._client.sadd(self._names.top("projects"), project)

    def _mend_project(self, project: str, share: Sequence[Finding]) -> set[Finding]:
        argv = [part for it in share if it.mend is not None for part in _arguments(it.mend)]
        keys = self._names.all_of(project, *MEND_KEYS)
        try:
            (made,), _none = self._scripts.run([("mend", keys, argv)])
        except PermanentError:
            # One of the keys is of the wrong type, which is a finding of its own.
            return set()
        return {finding for finding, is_made in zip(share, made, strict=True) if is_made}


def _arguments(mend: Mend) -> list[Any]:
    """Return one change for `mend.lua`."""
    match mend:
        case LineageMend():
            sign = "+" if mend.is_member else "-"
            return ["L", sign, mend.member, mend.ref, mend.record or b"", "", ""]
        case CountMend():
            before = b"" if mend.before is None else b"=" + mend.before
            return ["C", mend.key, mend.field, before, mend.after, mend.counted, mend.length]
        case WaitingMend():
            deadline = "" if mend.deadline is None else f"{mend.deadline:.3f}"
            shown, member = mend.waiting or "", mend.member or ""
            return ["W", mend.entry, mend.parked, shown, deadline, member, ""]
        case SourceMend():
            return ["S", mend.entry, mend.parked or b"", mend.member, "", "", ""]
        case ListingMend():
            raise ValueError("the list of projects is in another slot")
    assert_never(mend)
