"""What belongs to no single project: keyring, totals, and the list of projects."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from kmworker.audit.counters import number_in
from kmworker.audit.findings import Finding, ListingMend, Problem
from kmworker.model import Place

__all__ = [
    "is_project", "keyring_findings", "name_finding", "totals_findings", "type_finding",
    "unlisted_finding",
]  # fmt: skip

PROJECT: Final = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}\Z")
SUMMED: Final = ("items", "keys", "scopes")


def is_project(name: str) -> bool:
    """Say whether a project can have this name."""
    return PROJECT.match(name) is not None


def name_finding(name: str) -> Finding:
    """Return what is to be said of a name that no project can have."""
    return Finding(Problem.PROJECT_NAME, Place("", "projects", name), "no project has such a name")


def unlisted_finding(project: str, *, has_sound_record: bool) -> Finding:
    """Return what is to be said of a project that the list of projects lacks."""
    says = "it has keys, and is not listed"
    mend = ListingMend() if has_sound_record else None
    return Finding(Problem.PROJECT_UNLISTED, Place(project, "projects", project), says, mend)


def type_finding(project: str, key: str, found: str, wanted: str) -> Finding:
    """Return what is to be said of a key that is not of its type."""
    return Finding(
        Problem.WRONG_TYPE, Place(project, key, ""), f"it is a {found}, and should be a {wanted}"
    )


def keyring_findings(
    found: Mapping[str, str],
    theirs: Mapping[str, str],
    ours: Mapping[str, str],
    *,
    has_projects: bool,
) -> Iterator[Finding]:
    """Judge what the store remembers of its keyring.

    Args:
        found: the hash.
        theirs: the check values in it, by kek_id.
        ours: what they should be.
        has_projects: whether anything was ever recorded.
    """
    if not found:
        if has_projects:
            says = "there are records, and not the keyring that they belong to"
            yield Finding(Problem.KEYRING_WRONG, Place("", "keyring", ""), says)
        return
    for kek_id, value in theirs.items():
        if kek_id in ours and value != ours[kek_id]:
            place = Place("", "keyring", f"check:{kek_id}")
            yield Finding(Problem.KEYRING_WRONG, place, "it is not this KEK's check value")
    if not found.get("source"):
        yield Finding(Problem.KEYRING_WRONG, Place("", "keyring", "source"), "it is missing")
    if found.get("kek_ids", "").split() != sorted(theirs):
        says = "they are not those that there are check values for"
        yield Finding(Problem.KEYRING_WRONG, Place("", "keyring", "kek_ids"), says)


def totals_findings(totals: Mapping[bytes, bytes], sums: Mapping[str, int]) -> Iterator[Finding]:
    """Judge totals that were read before the sums.

    Records only become more and totals lag behind, so only what they say too much is wrong.
    """
    for name in SUMMED:
        said = number_in(totals.get(name.encode()))
        if said is None or said > sums[name]:
            shown = totals[name.encode()][:20].decode(errors="replace")
            says = f"it says {shown}, and there are {sums[name]}"
            yield Finding(Problem.TOTALS_WRONG, Place("", "totals", name), says)
