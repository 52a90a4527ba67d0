"""Endings: is each chain whole, and is nothing there that one of them has ended?"""

from collections.abc import Iterator

from kmworker.domain.endings import Chain, EndingEntry
from kmworker.domain.model import Place
from kmworker.verify.rules.findings import Finding
from kmworker.verify.rules.opened import Flawed, Opened, Sound, contradiction, flaw_at

__all__ = ["entry_findings", "older_finding"]


def entry_findings(
    chain: Chain, project: str, own: Opened[tuple[EndingEntry, str]]
) -> Iterator[Finding]:
    """Judge the next entry of a chain, and take it up if it is that.

    Args:
        chain: as far as it has been read.
        project: whose it is; '': the clients'.
        own: the entry.
    """
    place = Place(project, "endings", str(chain.end.number + 1))
    if isinstance(own, Flawed):
        yield flaw_at(place, own)
    elif isinstance(own, Sound) and not chain.takes(*own.value):
        yield contradiction(place, "it does not follow the one before: one is missing, or moved")


def older_finding(place: Place, version: int, ended_by: int) -> Finding:
    """Return what is to be said of a record that is older than what has ended it."""
    says = f"it is version {version}, which ended with version {ended_by}"
    return contradiction(place, says)
