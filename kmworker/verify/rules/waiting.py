"""The waiting room: does each index hold exactly what is parked?

The parked event is sealed and decides. Since when it waits and until when stands in the
indexes alone; where they have lost it, its time begins anew.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from kmworker.clock import rfc3339
from kmworker.domain.event import Event
from kmworker.domain.message import Original
from kmworker.domain.model import Place, life_ref
from kmworker.domain.plan import entry_name
from kmworker.verify.rules.findings import Finding, Problem, SourceRepair, WaitingRepair
from kmworker.verify.rules.opened import Flawed, Opened, Sound, flaw_at
from kmworker.wire.events.reading import parse

__all__ = ["EntryCase", "Parked", "entry_findings", "member_findings", "source_member"]

ROUNDING_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Parked:
    """A waiting event and the source in whose slot it waits."""

    source: str
    project: str
    """For which it counts; empty if it was parked before that was counted."""
    original: Original


@dataclass(frozen=True, slots=True)
class EntryCase:
    """An entry of the waiting room, as each of its keys has it."""

    project: str
    entry: str
    parked: Opened[Parked]
    waiting: bytes | None = None
    deadline: float | None = None
    """Unix seconds."""
    is_by_source: bool = False
    """Whether ``waiting:sources`` has it under its source."""
    is_expired: bool = False
    now: float = 0.0
    waits_s: float = 0.0
    """How long an event may wait."""


def source_member(source: str, entry: str) -> str:
    """Return an entry's member of ``waiting:sources``."""
    return f"{source} {entry}"


def entry_findings(case: EntryCase) -> Iterator[Finding]:
    """Judge one entry, by its parked event or by what there is without one."""
    place = Place(case.project, "parked", case.entry)
    if case.parked is None:
        if case.waiting is not None or case.deadline is not None:
            yield Finding(Problem.PARKED_MISSING, place, "an event waits, and its body is gone")
        elif case.is_expired:
            at_mark = Place(case.project, "expired", case.entry)
            yield Finding(Problem.EXPIRED_UNUSED, at_mark, "it marks no waiting event")
        return
    if isinstance(case.parked, Flawed):
        yield flaw_at(place, case.parked)
        return
    parked = case.parked.value
    event = _event_of(parked.original)
    if event is None:
        yield Finding(Problem.RECORD_WRONG, place, "this release cannot read the event")
    elif not _is_filed(event, case.entry, parked):
        says = "the event is filed under another name or source"
        yield Finding(Problem.RECORD_WRONG, place, says)
    else:
        yield from _index_findings(case, event, parked.source, case.parked.raw)


def member_findings(project: str, member: str, case: EntryCase) -> Iterator[Finding]:
    """Judge one member of ``waiting:sources`` by the entry that it names."""
    parked = case.parked
    if isinstance(parked, Flawed):
        return
    if isinstance(parked, Sound) and source_member(parked.value.source, case.entry) == member:
        return
    if parked is None and (case.waiting is not None or case.deadline is not None):
        yield from entry_findings(case)
        return
    says = "no such event waits" if parked is None else "the event waits for another source"
    place = Place(project, "waiting:sources", member)
    repair = SourceRepair(member, case.entry, None if parked is None else parked.raw)
    yield Finding(Problem.WAITING_WRONG, place, says, repair)


def _event_of(original: Original) -> Event | None:
    read = parse(original.body, original.properties.get("content_type"), original.routing_key)
    return read if isinstance(read, Event) else None


def _is_filed(event: Event, entry: str, parked: Parked) -> bool:
    source = event.derived_from
    return (
        entry_name(event, parked.original) == entry
        and source is not None
        and life_ref(source, event.source_generation) == parked.source
        and parked.project in {"", event.item.project}
    )


def _index_findings(case: EntryCase, event: Event, source: str, parked: bytes) -> Iterator[Finding]:
    shown = _shown(case.waiting)
    deadline = case.deadline
    if deadline is None:
        deadline = _seconds(shown.get("deadline")) or case.now + case.waits_s
    text = _rebuilt(shown, event.item.ref, source, deadline, case.waits_s)
    repair = WaitingRepair(case.entry, parked)
    if _shown(text.encode()) != shown:
        says = "it does not show the event that waits"
        yield _wrong(case, "waiting", case.entry, says, replace(repair, waiting=text))
    if case.deadline is None:
        says = "the event that waits has no deadline"
        yield _wrong(
            case, "waiting:deadlines", case.entry, says, replace(repair, deadline=deadline)
        )
    if not case.is_by_source:
        member = source_member(source, case.entry)
        says = "the event that waits is not found by its source"
        yield _wrong(case, "waiting:sources", member, says, replace(repair, member=member))


def _wrong(case: EntryCase, key: str, field: str, says: str, repair: WaitingRepair) -> Finding:
    return Finding(Problem.WAITING_WRONG, Place(case.project, key, field), says, repair)


def _rebuilt(shown: dict[str, Any], item: str, source: str, deadline: float, waits_s: float) -> str:
    """Return the entry for dashboards, keeping of the old one what can be so."""
    since, until, attempts = shown.get("since"), shown.get("deadline"), shown.get("attempts")
    fields = {
        "item": item,
        "source": source,
        "since": since if _seconds(since) else rfc3339(deadline - waits_s),
        "deadline": until if _is_about(until, deadline) else rfc3339(deadline),
        "attempts": attempts if type(attempts) is int and attempts >= 0 else 0,
    }
    return json.dumps(fields, separators=(",", ":"))


def _shown(waiting: bytes | None) -> dict[str, Any]:
    try:
        fields = json.loads(waiting or b"")
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _is_about(text: object, deadline: float) -> bool:
    """Return whether a deadline's two forms, one rounded and one cut, are the same."""
    seconds = _seconds(text)
    return seconds is not None and abs(seconds - deadline) < ROUNDING_S


def _seconds(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None
