"""What an operator has to know of KEKs, in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from kmworker.cli.terminal.output import plural
from kmworker.clock import rfc3339, unix_s
from kmworker.domain.keks import KekState, KekStates, KeyringFlaw
from kmworker.store.spread import UNKNOWN
from kmworker.store.views.janitor import JanitorSeen
from kmworker.store.views.keks import KekSeen

__all__ = [
    "MANY_WRAPS",
    "age_days",
    "janitor_trouble",
    "keks_in_words",
    "not_taken_up",
    "problems_of",
]

MANY_WRAPS: Final = 2**31
"""In one project under one KEK: half of what is good (NIST SP 800-38D, section 8.3)."""
TURN_OVER: Final = 'turn it over: docs/operations.md, "Turning a KEK over"'
FORGED: Final = "kmworker verify names them"
DAY_S: Final = 86_400
FLAWS: Final[Mapping[str, str]] = {
    KeyringFlaw.ROOT_AWAY: "its root of trust does not answer",
    KeyringFlaw.UNUSABLE: "it cannot be used, and its log says why",
}
NOTHING_UNDER_IT: Final = frozenset({KekState.RETIRED, KekState.REMOVED, UNKNOWN})
Problem = tuple[str, str]
"""What it is, and what to do about it."""


def keks_in_words(keks: Iterable[KekSeen], *, is_counted: bool) -> Iterator[str]:
    """Say of each KEK what is under it, but of those that are over and done with."""
    for kek in keks:
        if kek.state in NOTHING_UNDER_IT and not (kek.records or kek.deks):
            continue
        named = UNKNOWN if kek.kek_id == UNKNOWN else f"{kek.kek_id} {kek.state}"
        if not is_counted:
            yield f"{named}: not counted yet"
            continue
        counted = ((kek.records, "record"), (kek.deks, "DEK"), (kek.projects, "project"))
        said = f"{named}: {', '.join(plural(*it) for it in counted)}"
        # Of KEKs that nobody knows nothing is reserved.
        yield said if kek.kek_id == UNKNOWN else f"{said}; up to {kek.wraps:,} wraps in one"


def age_days(states: KekStates, now: float) -> float:
    """Return for how many days the active KEK has been that; now: Unix seconds."""
    return max(now - unix_s(states.keks[states.active].at), 0.0) / DAY_S


def problems_of(
    states: KekStates,
    seen: Sequence[KekSeen],
    kek_ids: Iterable[str],
    *,
    now: float,
    max_age_days: float,
) -> Iterator[Problem]:
    """Give what a person has to do about KEKs.

    Args:
        states: what may be done with them.
        seen: what is under each.
        kek_ids: those of the keyring file.
        now: Unix seconds.
        max_age_days: for how long one is to be active.
    """
    days = age_days(states, now)
    if days > max_age_days:
        said = f"KEK {states.active} is active for {days:,.0f} d"
        yield f"{said}, of {max_age_days:,.0f} (keyring.max_age_days)", TURN_OVER
    for kek in seen:
        if kek.records or kek.deks:
            yield from _not_under_the_active(kek, states)
        if kek.wraps >= MANY_WRAPS:
            said = f"a project may have {kek.wraps:,} wraps under KEK {kek.kek_id}"
            yield f"{said}, and 2^32 are good", TURN_OVER
    for kek_id in sorted(set(kek_ids) - states.keks.keys()):
        yield f"KEK {kek_id} of the file is not known to the store", "kmworker keyring add"


def _not_under_the_active(kek: KekSeen, states: KekStates) -> Iterator[Problem]:
    of = f"{plural(kek.records, 'record')} and {plural(kek.deks, 'DEK')}"
    where = f"in {plural(kek.projects, 'project')}"
    if kek.kek_id == UNKNOWN:
        yield f"{of} {where} under KEKs that the store does not know", FORGED
    elif kek.state in NOTHING_UNDER_IT:
        yield f"{of} {where} under the {kek.state} KEK {kek.kek_id}", FORGED
    elif kek.kek_id != states.active:
        since = states.keks[states.active].at
        what = f"{of} {where} under KEK {kek.kek_id}, not rewrapped since another is active"
        yield f"{what} ({since})", "kmworker rewrap"


def not_taken_up(who: str, flaw: str, since_s: float) -> str:
    """Say whose keyring file has changed and is not taken up.

    Args:
        who: a worker or a janitor.
        flaw: a `KeyringFlaw`; what no release wrote is told as if it could not be used.
        since_s: Unix seconds.
    """
    why = FLAWS.get(flaw, FLAWS[KeyringFlaw.UNUSABLE])
    return f"{who} has not taken up its keyring file since {rfc3339(since_s)}: {why}"


def janitor_trouble(janitor: JanitorSeen) -> str:
    """Say that a janitor's keyring file is not taken up; empty if it is."""
    if not janitor.keyring_trouble:
        return ""
    who = f"janitor {janitor.janitor_id}"
    return not_taken_up(who, janitor.keyring_trouble, janitor.keyring_trouble_since)
