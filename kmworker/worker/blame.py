"""A batch has failed as a whole: whose fault is it, and what becomes of that one event?

Pure: one table, in the order of precedence. Nothing here knows how a batch is halved or what
happens to a dead letter; `kmworker.worker.isolate` does what it says.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Final

from kmworker.domain.plan import Arrival
from kmworker.domain.producers import vouching
from kmworker.domain.resolve import Dead
from kmworker.errors import PermanentError, PublishRefused, SetupError, TransientError

__all__ = ["MAX_ENDS", "Fate", "bare", "blame"]

# Once may be the broker's own trouble: the same again is an internal error of ours.
MAX_ENDS: Final = 2


class Fate(Enum):
    """What becomes of what has failed."""

    RAISE = "raise"
    """Nobody's fault: everything comes again, when a server is there or a person has acted."""
    HALVE = "halve"
    """One of several: each half shows whether it has it."""
    DEAD_LETTER = "dead-letter"
    """The event's own fault: a dead letter that says what is wrong with it."""
    TRY_AGAIN = "try again"
    """An internal error, which may pass: once more, after a pause and alone."""
    GIVE_UP = "give up"
    """An internal error that does not pass: a dead letter that says so."""
    LEAVE_OFF_PROPERTIES = "leave off properties"
    """A dead letter that cannot be published, with what stands beside the event."""
    HOLD = "hold"
    """A dead letter that cannot be published, however bare: its event stays with the broker."""


def blame(
    error: Exception, failed: Sequence[Arrival | Dead], *, max_attempts: int, ends: int
) -> Fate:
    """Choose what becomes of events that went through the stages together, and failed.

    Args:
        error: what they failed of.
        failed: the events; at least one.
        max_attempts: so often an event is tried that fails by an internal error.
        ends: how often in a row before this the broker has ended a connection over what was
            published.
    """
    # A server that is away is no event's fault, nor is what a person must change. The end of a
    # connection is, once it cannot be a passing trouble of the broker's any more.
    is_refused_again = isinstance(error, PublishRefused) and ends >= MAX_ENDS
    if isinstance(error, TransientError | SetupError) and not is_refused_again:
        return Fate.RAISE
    # No event suffers for its neighbour.
    if len(failed) > 1:
        return Fate.HALVE
    (event,) = failed
    # Its way ends in the dead letters: it may lose what makes it unsendable, never itself.
    if isinstance(event, Dead):
        return Fate.HOLD if bare(event) == event else Fate.LEAVE_OFF_PROPERTIES
    if isinstance(error, PermanentError):
        return Fate.DEAD_LETTER
    return Fate.TRY_AGAIN if event.attempts < max_attempts else Fate.GIVE_UP


def bare(dead: Dead) -> Dead:
    """Return a dead letter without what stands beside its event, but for whose that is."""
    original = dead.original
    return replace(dead, original=replace(original, properties=vouching(original.properties)))
