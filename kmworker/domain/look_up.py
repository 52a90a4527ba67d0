"""What has to be looked up before a batch can be planned. Pure.

Most events need nothing: of a new item there is nothing to be known, and its source was written
or verified a moment ago. They are planned over that, and `commit` finds out whether it is so.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Final

from kmworker.domain.event import Event
from kmworker.domain.model import Held, Item, Kind
from kmworker.domain.plan import Arrival
from kmworker.domain.values import value

__all__ = ["NOTHING", "Presumed", "items_to_look_up", "presume"]


@value
class Presumed:
    """What is not looked up, because the store says when it is not so."""

    new: frozenset[Item] = frozenset()
    """Items that have no record."""
    recalled: Mapping[Item, Held] = field(default_factory=dict)
    """Sources, as they were when they were written or verified."""


NOTHING: Final = Presumed()


def items_to_look_up(events: Iterable[Event]) -> set[Item]:
    """Return the items whose state the decisions need."""
    wanted = set()
    for event in events:
        wanted.add(event.item)
        if (source := _source_of(event)) is not None:
            wanted.add(source)
    return wanted


def presume(
    arrivals: Sequence[Arrival], recall: Callable[[Iterable[Item]], dict[Item, Held]]
) -> tuple[list[Event], Presumed]:
    """Return the events that need a look-up, and what the others are planned over.

    An event that never came before is planned as if its item were new, if its source is none, is
    recalled, or is of this batch.

    Args:
        arrivals: events in the order received.
        recall: see `kmworker.ports.Store.recall`.
    """
    first = [it.event for it in arrivals if it.is_first]
    of_batch = {it.event.item for it in arrivals}
    recalled = recall({source for it in first if (source := _source_beside(it))} - of_batch)
    at_hand = of_batch | recalled.keys()
    needing = [it.event for it in arrivals if not (it.is_first and _is_at_hand(it.event, at_hand))]
    new = of_batch - {event.item for event in needing}
    return needing, Presumed(frozenset(new), recalled)


def _source_of(event: Event) -> Item | None:
    """Return the source, if it is one that a store knows: not an image."""
    source = event.derived_from
    return None if source is None or source.kind is Kind.IMAGE else source


def _source_beside(event: Event) -> Item | None:
    """Return the source, if it is of the same project: in another slot no write can compare it."""
    source = _source_of(event)
    return source if source is not None and source.project == event.item.project else None


def _is_at_hand(event: Event, at_hand: Collection[Item]) -> bool:
    return _source_of(event) is None or _source_beside(event) in at_hand
