"""Grants, and what is to be recorded of them: is each record one that a worker wrote, in its place?

Whether an item is attached, storage alone knows; and a volume may be attached before its
creation has been heard of.
"""

from collections.abc import Iterator

from kmworker.domain.grants import Grants
from kmworker.domain.model import Place
from kmworker.verify.rules.findings import Finding, Problem
from kmworker.verify.rules.opened import Flawed, Opened, Sound, flaw_at
from kmworker.verify.rules.records import item_named

__all__ = ["grants_findings", "unrecorded_findings"]


def grants_findings(project: str, ref: str, own: Opened[Grants]) -> Iterator[Finding]:
    """Judge the grants of one item."""
    place = Place(project, "grants", ref)
    if isinstance(own, Flawed):
        yield flaw_at(place, own)
    elif isinstance(own, Sound) and item_named(project, ref) is None:
        yield Finding(Problem.RECORD_WRONG, place, "no item has this name")


def unrecorded_findings(project: str, entry: str, own: Opened[None]) -> Iterator[Finding]:
    """Judge what is to be recorded of one item's attachments."""
    if isinstance(own, Flawed):
        yield flaw_at(Place(project, "unrecorded", entry), own)
