"""Bytes to events: what makes a batch of deliveries, and of events that waited."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kmworker.domain.decision import Refuse
from kmworker.domain.event import UNKNOWN_TYPE, Happening, Unreadable
from kmworker.domain.message import Delivery, Original
from kmworker.domain.plan import Arrival, Entry
from kmworker.domain.resolve import Dead, dead_from, too_many
from kmworker.domain.values import value
from kmworker.domain.waiting import Taken
from kmworker.errors import Reason, SetupError
from kmworker.ports import Store
from kmworker.wire.events.reading import TOO_LARGE, parse

__all__ = ["Batch", "Parser"]


@value
class Batch:
    """Events that go through the stages together."""

    arrivals: Sequence[Arrival]
    dead: Sequence[Dead]
    """Refused before there is a plan for them."""
    may_be_new: bool = False
    """Whether nobody has tried those that were delivered for the first time."""

    @property
    def tried(self) -> "Batch":
        """Return the same, once it was tried."""
        return Batch(self.arrivals, self.dead)

    @property
    def events(self) -> list[Arrival | Dead]:
        """Return all of them."""
        return [*self.arrivals, *self.dead]

    @property
    def entries(self) -> list[Entry]:
        """Return those that are in the waiting room."""
        return [event.entry for event in self.events if event.entry is not None]


class Parser:
    """Reads events; nothing that is wrong with one raises."""

    def __init__(self, store: Store, max_attempts: int) -> None:
        self._store = store
        self._max_attempts = max_attempts

    def parse(self, deliveries: Iterable[Delivery], taken: Iterable[Taken] = ()) -> Batch:
        """Return what can be read as events, and the rest as dead letters.

        Raises:
            SetupError: an event may be one that only a later release knows.
        """
        read = [self._read(d.original, delivery=d) for d in deliveries]
        read += [self._read_waiting(waiting) for waiting in taken]
        return Batch(
            [event for event in read if isinstance(event, Arrival)],
            [event for event in read if isinstance(event, Dead)],
        )

    def give_up(self, poison: Delivery, attempts: int) -> Batch:
        """Return the dead letter of an event that ended too many workers."""
        refusal = too_many(attempts)
        # Reading it may be what ends us: in the end it is given up unread.
        if attempts >= 2 * self._max_attempts:
            dead = Dead(poison.original, refusal, "", UNKNOWN_TYPE, poison, None, attempts)
            return Batch([], [dead])
        read = self.parse([poison])
        given_up = [dead_from(replace(it, attempts=attempts), refusal) for it in read.arrivals]
        return Batch([], [*read.dead, *given_up])

    def _read_waiting(self, waiting: Taken) -> Arrival | Dead:
        entry = waiting.entry
        if waiting.problem:
            refusal = Refuse(Reason.INTEGRITY, waiting.problem)
            return Dead(waiting.original, refusal, "", "unknown", None, entry, entry.attempts)
        read = self._read(waiting.original, entry=entry)
        # The first try is made in company, and counted for all of it.
        if isinstance(read, Dead) or entry.attempts <= self._max_attempts + 1:
            return read
        # Counted before each try, so this one ended a worker max_attempts times, alone.
        cause, attempts = read.event.cause, entry.attempts - 1
        return Dead(read.original, too_many(attempts), cause.id, cause.type, None, entry, attempts)

    def _read(
        self, original: Original, *, delivery: Delivery | None = None, entry: Entry | None = None
    ) -> Arrival | Dead:
        event = _event(original)
        if not isinstance(event, Unreadable):
            return Arrival(event, original, delivery, entry)
        if event.may_be_newer and self._store.layout_is_newer():
            raise SetupError(
                f"an event is beyond this release, and the store's layout is newer: {event.detail}",
                hint="the event stays with the broker: update this worker",
            )
        attempts = 1 if entry is None else entry.attempts
        refusal = Refuse(event.reason, event.detail)
        return Dead(original, refusal, event.event_id, event.event_type, delivery, entry, attempts)


def _event(original: Original) -> Happening | Unreadable:
    if original.dropped is not None:
        return Unreadable(Reason.MALFORMED, TOO_LARGE, "", UNKNOWN_TYPE)
    properties = original.properties
    return parse(original.body, properties.get("content_type"), original.routing_key, properties)
