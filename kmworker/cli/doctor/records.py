"""What ``kmworker doctor`` says of the records and the KEKs that they are under."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from kmworker.cli.doctor.checks import OK, Check, checked, not_checked
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.store import now_of
from kmworker.cli.installation.keks import age_days, problems_of
from kmworker.cli.terminal.output import ago, plural
from kmworker.domain.keks import KekStates
from kmworker.errors import SetupError
from kmworker.settings import Settings
from kmworker.store.admission import recognised
from kmworker.store.connection import store_errors
from kmworker.store.counts import number_in
from kmworker.store.inspection import Views
from kmworker.store.made_anew import is_wrong_type
from kmworker.store.spread import COUNTED_AT, field_of
from kmworker.store.views.janitor import number_of
from kmworker.store.views.keks import counted_fields, keks_in
from kmworker.store.wraps import WRAPS

__all__ = ["check_records"]

TURN_OVER_SPOILT: Final = "find out who wrote there, and turn that KEK over"


class _Known(NamedTuple):
    states: KekStates
    kek_ids: frozenset[str]
    """Of the keyring file."""


def check_records(settings: Settings, views: Views, user: str) -> Iterator[Check]:
    """Look whose records these are, and at the KEKs that they are under.

    Args:
        settings: as loaded.
        views: the store.
        user: as whom it is asked.
    """
    known: list[_Known] = []
    records = checked("records", lambda: _records(settings, views, known), user)
    yield records
    if not known:
        yield from not_checked("records" if records.status == OK else "the records", "keks")
        return
    yield checked("keks", lambda: _keks(settings, views, known[0]), user)


def _records(settings: Settings, views: Views, known: list[_Known]) -> str:
    """Compare keyring and store as a worker does, without entering the keyring there."""
    layout, keyring = views.fields("layout"), views.keyring()
    if not layout and not keyring:
        if views.has_projects():
            names = f"{views.names.top('layout')} and {views.names.top('keyring')}"
            hint = "restore both hashes from a backup of the store"
            raise SetupError(f"the store has records, but {names} are missing", hint)
        return "none yet: the first worker enters its keyring"
    custody = custody_of(settings.keyring)
    found = recognised(layout, keyring, custody, views.names)
    known.append(_Known(found.keks, custody.kek_ids))
    return f"of this keyring, layout {found.layout.number}, active KEK {found.keks.active}"


def _keks(settings: Settings, views: Views, known: _Known) -> str | tuple[str, str]:
    now, states = now_of(views), known.states
    totals = _hash(views, "totals", counted_fields(states.keks))
    reserved = _hash(views, WRAPS, sorted(states.keks))
    counted_at = number_of(totals, COUNTED_AT)
    if not counted_at:
        # All that is reserved may be one project's.
        numbers = {field_of("wraps", kek_id): text for kek_id, text in reserved.items()}
        totals = {**totals, **numbers}
    problems = [
        *problems_of(
            states, keks_in(states.keks, totals), known.kek_ids,
            now=now, max_age_days=settings.keyring.max_age_days,
        ),
        *_spoilt(views, reserved),
    ]  # fmt: skip
    if problems:
        details, hints = zip(*problems, strict=True)
        return "; ".join(details), "; ".join(dict.fromkeys(hints))
    max_age_days = settings.keyring.max_age_days
    age = f"active for {age_days(states, now):,.0f} of {max_age_days:,.0f} d"
    records = int(number_of(totals, field_of("records", states.active)))
    under = f"all {plural(records, 'record')} under it (counted {ago(counted_at, now)})"
    return f"{age}; {under if counted_at else 'no worker has counted what is under it'}"


def _spoilt(views: Views, reserved: dict[str, str]) -> Iterator[tuple[str, str]]:
    for kek_id, text in reserved.items():
        if number_in(text.encode()) is None:
            key = views.names.top(WRAPS)
            yield f"{key} does not say how much KEK {kek_id} has wrapped", TURN_OVER_SPOILT


def _hash(views: Views, key: str, fields: Sequence[str]) -> dict[str, str]:
    """Return fields of a hash; all of them without a number where somebody put something else."""
    with store_errors():
        pipeline = views.client.pipeline(transaction=False)
        pipeline.hmget(views.names.top(key), fields)
        (found,) = pipeline.execute(raise_on_error=False)
        if is_wrong_type(found):
            return {} if key != WRAPS else dict.fromkeys(fields, "?")
        if isinstance(found, Exception):
            raise found
    pairs = zip(fields, found, strict=True)
    return {name: text.decode(errors="replace") for name, text in pairs if text is not None}
