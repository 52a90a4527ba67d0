"""What is promised, in words, and what it looks like when one of them is broken."""

from collections.abc import Sequence
from enum import Enum


class Invariant(Enum):
    """The promises that are checked: during a run where it shows, and at rest."""

    ACCOUNTED = "an accepted event ends in its item's assignment, waiting, or as a dead letter"
    ANNOUNCED = "an assignment is announced at least once"
    SAME_BYTES = "an assignment is always announced with the same bytes"
    ONE_KEY = "no item has two key-ids over all announcements ever made"
    STORED_FIRST = "what is announced is in the store, as it is announced, with its wrapped DEK"
    IMMUTABLE = "what was announced stays in the store as it was"
    ACKNOWLEDGED_LAST = "an event is acknowledged only when its outcome is stored and confirmed"
    KEPT_WAITING = "a waiting event leaves its room only when its outcome is confirmed"
    SCOPES = "a clone points at its source's scope, a reuse at its source's key-id, too"
    COUNTED = "counters and indexes agree with the records"
    NUMBERED = "what writes records is one commit, and never are more counted than there were"
    JUSTIFIED = "an event is refused only for what is wrong with it, and not assigned as well"
    PROTOCOL = "nothing is done on a channel that the broker would close it for"
    EXPECTED = "a history comes to the same assignments and refusals, whatever strikes in it"
    GOES_ON = "what finds no room keeps nothing but itself waiting"
    HELD = "what an item holds is never destroyed, and no DEK is missing that a key-id names"
    ENDED = "what nobody holds is destroyed when its time has passed"
    GENERATIONS = "two lives of a name share a DEK only where one derives from the other"
    TOLD = "whatever becomes of a key-id is announced, each change, with the same bytes"
    UNDER_ACTIVE = "nothing is under a KEK that is retired, and nothing opens by it any more"
    RECORDED = "no answer leaves before the broker has its record, and each has one of its own"
    GRANTED = "a key leaves only if the last look since its record has found it granted"
    OPENS = "a key that is delivered is its item's, and its client can open it"
    SERVED = "whoever may have a key gets it when it asks again"
    AT_REST = "once everything has been tried, nothing is left to do"


class Violation(AssertionError):
    """Promises were broken: which, in the order in which it showed, and by what."""

    def __init__(self, broken: Sequence[tuple[Invariant, str]]) -> None:
        lines = [f"{invariant.value}: {detail}" for invariant, detail in broken]
        super().__init__("\n".join(lines))
        self._broken = broken
        self.invariants = frozenset(invariant for invariant, _detail in broken)

    def __reduce__(self) -> tuple[type["Violation"], tuple[Sequence[tuple[Invariant, str]]]]:
        """Let it be raised in another process than the one that it was found in."""
        return Violation, (self._broken,)
