"""What belongs to no single project: keyring, totals, and the list of projects."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from kmworker.domain.model import Place
from kmworker.store.counts import number_in
from kmworker.verify.rules.findings import Finding, ListingRepair, Problem
from kmworker.wire.fields import PROJECT_ID

__all__ = [
    "commits_findings", "fence_finding", "is_project", "keks_finding", "keyring_findings",
    "layout_finding", "name_finding", "totals_findings", "type_finding", "unlisted_finding",
]  # fmt: skip

PROJECT: Final = re.compile(PROJECT_ID)
SUMMED: Final = ("items", "keys", "scopes")


def is_project(name: str) -> bool:
    """Return whether a project can have this name."""
    return PROJECT.fullmatch(name) is not None


def name_finding(name: str) -> Finding:
    """Return what is to be said of a name that no project can have."""
    return Finding(Problem.PROJECT_NAME, Place("", "projects", name), "no project has such a name")


def unlisted_finding(project: str, *, has_sound_record: bool) -> Finding:
    """Return what is to be said of a project that the list of projects lacks."""
    says = "it has keys, and is not listed"
    repair = ListingRepair() if has_sound_record else None
    return Finding(Problem.PROJECT_UNLISTED, Place(project, "projects", project), says, repair)


def type_finding(project: str, key: str, found: str, wanted: str) -> Finding:
    """Return what is to be said of a key that is not of its type."""
    return Finding(
        Problem.WRONG_TYPE, Place(project, key, ""), f"it is a {found}, and should be a {wanted}"
    )


def layout_finding(says: str) -> Finding:
    """Return what is to be said of a layout that is missing or altered."""
    return Finding(Problem.LAYOUT_WRONG, Place("", "layout", ""), says)


def keyring_findings(
    found: Mapping[str, str], theirs: Mapping[str, str], ours: Mapping[str, str], *, in_use: bool
) -> Iterator[Finding]:
    """Judge what the store remembers of its keyring.

    Args:
        found: the hash.
        theirs: the check values in it, by kek_id.
        ours: what they should be.
        in_use: whether a worker ever was there.
    """
    if not found:
        if in_use:
            says = "there are records, and not the keyring that they belong to"
            yield Finding(Problem.KEYRING_WRONG, Place("", "keyring", ""), says)
        return
    if not theirs:
        says = "no check value in it tells whose it is"
        yield Finding(Problem.KEYRING_WRONG, Place("", "keyring", ""), says)
    for kek_id, value in theirs.items():
        if kek_id in ours and value != ours[kek_id]:
            place = Place("", "keyring", f"check:{kek_id}")
            yield Finding(Problem.KEYRING_WRONG, place, "it is not this KEK's check value")
    if not found.get("source"):
        yield Finding(Problem.KEYRING_WRONG, Place("", "keyring", "source"), "it is missing")
    if found.get("kek_ids", "").split() != sorted(theirs):
        says = "they are not those that there are check values for"
        yield Finding(Problem.KEYRING_WRONG, Place("", "keyring", "kek_ids"), says)


def keks_finding() -> Finding:
    """Return what is to be said of states of KEKs that nobody with the active one has written."""
    says = "it is not as it was sealed: what may be done with each KEK is not known"
    return Finding(Problem.KEYRING_WRONG, Place("", "keyring", "states"), says)


def fence_finding(project: str, fence: bytes | None, term: int) -> Finding | None:
    """Return what is wrong with a project's fence, if anything is.

    Args:
        project: whose fence it is.
        fence: as it stands there; None: there is none.
        term: of the active KEK, by `km:keyring`.
    """
    fenced = number_in(fence)
    if fenced is not None and fenced <= term:
        return None
    shown = (fence or b"")[:20].decode(errors="replace")
    says = f"it says {shown}, and {term} KEKs have been active: nobody can write there"
    return Finding(Problem.FENCE_WRONG, Place(project, "fence", ""), says)


def commits_findings(number: int | None, total: int, incident: bytes | None) -> Iterator[Finding]:
    """Judge the numbers of commits.

    Args:
        number: how many there have been for certain; None if it is no number.
        total: how many there are, by the numbers of all projects.
        incident: the name that a worker has given to a loss.
    """
    if number is None:
        says = "it is no number of commits"
        yield Finding(Problem.COMMITS_LOST, Place("", "commits", "number"), says)
    elif total < number:
        says = f"of {number} commits there are {total}: records are lost"
        yield Finding(Problem.COMMITS_LOST, Place("", "commits", "number"), says)
    if incident is not None:
        said = incident[:20].decode(errors="replace")
        says = f"a worker has seen that commits were lost: incident {said}"
        yield Finding(Problem.COMMITS_LOST, Place("", "commits", "incident"), says)


def totals_findings(
    totals: Mapping[bytes, bytes], sums: Mapping[str, int], released: int | None
) -> Iterator[Finding]:
    """Judge totals that were read before the sums.

    They lag behind, and records become fewer only as released items are forgotten, each with no
    more than one key-id and one scope. Only what they say beyond that is wrong.

    Args:
        totals: as they are shown.
        sums: what there is, by the same names.
        released: how many items have ever been; None: nobody knows.
    """
    for name in SUMMED:
        said = number_in(totals.get(name.encode()))
        if said is None or (released is not None and said > sums[name] + released):
            shown = totals[name.encode()][:20].decode(errors="replace")
            says = f"it says {shown}, and there are {sums[name]}"
            yield Finding(Problem.TOTALS_WRONG, Place("", "totals", name), says)
