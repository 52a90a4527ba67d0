"""The stages over what is counted of the waiting room: how many events, and whose."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from kmworker.store.reading import StoreReader, text
from kmworker.verify.rules.counters import shares_findings, waiting_findings
from kmworker.verify.rules.opened import Sound
from kmworker.verify.scan.opening import Opening
from kmworker.verify.scan.stages import CheckedPage

__all__ = ["WaitingNumberStage", "WaitingSharesStage"]

# How often they are counted again that moved while they were counted.
ROUNDS: Final = 3

Steps = Iterator[CheckedPage]


class WaitingNumberStage:
    """Checks the present number of waiting events in stats."""

    name = "waiting-number"
    keys = ("parked", "stats")

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    def run(self, project: str, cursor: int) -> Steps:
        """Check, at one moment."""
        del cursor
        parked, (said,) = self._reader.lengths(project, "parked", ["waiting"])
        yield CheckedPage(0, 0, list(waiting_findings(project, said, parked)))


class WaitingSharesStage:
    """Checks how many of the parked events are whose, and their bytes."""

    name = "waiting-shares"
    keys = ("parked", "waiting:shares")

    def __init__(self, reader: StoreReader, opening: Opening) -> None:
        self._reader = reader
        self._opening = opening

    def run(self, project: str, cursor: int) -> Steps:
        """Check; again if it moved meanwhile, and not at all if it never rests."""
        del cursor
        for _ in range(ROUNDS):
            before = self._reader.shares(project)
            counted: Counter[tuple[str, str]] = Counter()
            looked_at = 0
            for page in self._reader.all(project, "parked"):
                for entry, raw in page:
                    self._count(project, entry, raw, counted)
                looked_at += len(page)
                yield CheckedPage(0, len(page), [])
            # A scan may give one twice.
            if self._reader.shares(project) == before and looked_at == before[0]:
                yield CheckedPage(0, 0, list(shares_findings(project, *before, counted)))
                return

    def _count(
        self, project: str, entry: bytes, raw: bytes, counted: Counter[tuple[str, str]]
    ) -> None:
        opened = self._opening.parked(project, text(entry), raw)
        # Nobody can say whose a flawed one is; that is a finding of its own.
        whose = opened.value.project if isinstance(opened, Sound) else ""
        counted[whose, "events"] += 1
        counted[whose, "bytes"] += len(raw)
