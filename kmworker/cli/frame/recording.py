"""What operators do, in the audit trail, where it is no change that the store keeps for it.

That it begins is recorded before anything is done, and that it has ended, with what it came to,
afterwards. What cannot be recorded is not begun: so whoever is stopped half-way has left a trace.
The change of a key, a KEK, a client or the trust list needs none of this: its record is left in
the store with it, and nobody waits for the broker.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import time
from typing import Final

import typer

from kmworker.cli.terminal.output import complain
from kmworker.clock import rfc3339
from kmworker.domain.audit import ActOutcome, AuditRecord
from kmworker.errors import NotRecorded
from kmworker.ports import AuditTrail
from kmworker.settings import Settings

__all__ = ["Recording", "record_first", "recorded"]

ROLE: Final = "operator"


@dataclass(slots=True)
class Recording:
    """What is done just now, for the record of its end."""

    count: int | None = None
    """Of how many things; None: they are not counted."""


def record_first(settings: Settings, act: AuditRecord) -> None:
    """Have it recorded what is to leave after this, whatever `audit.records` says.

    Raises:
        SetupError: no broker is configured.
        NotRecorded: it is not in the trail, and nothing may leave.
    """
    trail = _open(settings)
    try:
        _record(trail, act)
    finally:
        trail.close()


@contextmanager
def recorded(settings: Settings, act: AuditRecord, *, is_done: bool = True) -> Iterator[Recording]:
    """Have it recorded that something is begun, and what it came to; if anything is.

    Args:
        settings: whether (`audit.records`), and where.
        act: what is done.
        is_done: False: it is only rehearsed, and nothing is to be recorded.

    Raises:
        SetupError: no broker is configured.
        NotRecorded: its beginning is not in the trail, and nothing was done.
    """
    recording = Recording()
    if not (settings.audit.records and is_done):
        yield recording
        return
    trail = _open(settings)
    try:
        _record(trail, replace(act, outcome=ActOutcome.BEGUN))
        # It may take hours, in which nobody answers the broker's heartbeats.
        trail.close()
        outcome = ActOutcome.FAILED
        try:
            yield recording
            outcome = ActOutcome.DONE
        except typer.Exit as ending:
            outcome = ActOutcome.FAILED if ending.exit_code else ActOutcome.DONE
            raise
        finally:
            end = replace(act, at=rfc3339(time()), outcome=outcome, count=recording.count)
            _record_end(trail, end)
    finally:
        trail.close()


def _open(settings: Settings) -> AuditTrail:
    from kmworker.bootstrap.audit import open_audit_trail  # noqa: PLC0415  # most do without

    return open_audit_trail(settings.broker, ROLE)


def _record(trail: AuditTrail, act: AuditRecord) -> None:
    try:
        trail.record([act]).result()
    except NotRecorded as refused:
        raise NotRecorded(f"nothing was done: {refused}") from refused


def _record_end(trail: AuditTrail, act: AuditRecord) -> None:
    try:
        trail.record([act]).result()
    except NotRecorded as refused:
        complain(f"its end is not in the audit trail, which has its beginning: {refused}")
