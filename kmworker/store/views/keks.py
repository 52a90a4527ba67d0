"""The KEKs of a store as dashboards see them: what the store says, and what was counted last."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kmworker.domain.keks import KekEntry
from kmworker.store.spread import COUNTED_AT, UNKNOWN, field_of
from kmworker.store.views.janitor import number_of

__all__ = ["KekSeen", "counted_fields", "is_of_keks", "keks_in"]

COUNTED: Final = ("records", "deks", "projects")


@dataclass(frozen=True, slots=True)
class KekSeen:
    """A KEK, and how much was under it when that was counted last."""

    kek_id: str
    """`kmworker.store.spread.UNKNOWN` for all that the store does not know, together."""
    state: str
    """`unknown`, too, of these."""
    since: str
    """RFC 3339, UTC; empty of these."""
    records: int
    """Sealed records."""
    deks: int
    projects: int
    """In so many of them anything is under it."""
    wraps: int
    """So many at most were made in any one project."""


def counted_fields(kek_ids: Iterable[str]) -> list[str]:
    """Return the fields of ``km:totals`` that `keks_in` wants of these KEKs."""
    named = [field_of(what, it) for it in (*kek_ids, UNKNOWN) for what in (*COUNTED, "wraps")]
    return [COUNTED_AT, *named]


def is_of_keks(field: str) -> bool:
    """Return whether a field of ``km:totals`` is about KEKs."""
    return field == COUNTED_AT or ":" in field


def keks_in(known: Mapping[str, KekEntry], totals: Mapping[str, str]) -> list[KekSeen]:
    """Return the KEKs that a store knows, and what is under others, if anything is.

    Args:
        known: as the store says it.
        totals: of ``km:totals``.
    """
    keks = [_seen(kek_id, it.state.value, it.at, totals) for kek_id, it in sorted(known.items())]
    others = _seen(UNKNOWN, UNKNOWN, "", totals)
    return [*keks, others] if others.records or others.deks else keks


def _seen(kek_id: str, state: str, since: str, totals: Mapping[str, str]) -> KekSeen:
    records, deks, projects, wraps = (
        int(number_of(totals, field_of(what, kek_id))) for what in (*COUNTED, "wraps")
    )
    return KekSeen(kek_id, state, since, records, deks, projects, wraps)
