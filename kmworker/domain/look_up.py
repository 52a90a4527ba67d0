"""What has to be looked up before a batch can be planned. Pure.

Most events need nothing: of a new item there is nothing to be known, and its source was written
or verified a moment ago. They are planned over that, and `commit` finds out whether it is so.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Final

from kmworker.domain.event import Attach, Detach, Event, Happening, Release
from kmworker.domain.model import Held, Item, Kind, Released
from kmworker.domain.plan import Arrival
from kmworker.domain.values import value

__all__ = ["NOTHING", "Presumed", "grants_to_look_up", "items_to_look_up", "presume"]


@value
class Presumed:
    """What is not looked up, because the store says when it is not so."""

    new: frozenset[Item] = frozenset()
    """Items that have no record."""
    recalled: Mapping[Item, Held | Released] = field(default_factory=dict)
    """Sources, and items that are gone, as they were when they were written or verified."""

    def __contains__(self, item: object) -> bool:
        """Return whether the item was not looked up."""
        return item in self.new or item in self.recalled


NOTHING: Final = Presumed()


def items_to_look_up(events: Iterable[Happening]) -> set[Item]:
    """Return the items whose state the decisions need."""
    wanted = set()
    for event in events:
        if isinstance(event, Attach | Detach):
            # Who may have a key is in records of its own.
            continue
        wanted.add(event.item)
        if (source := _source_of(event)) is not None:
            wanted.add(source)
    return wanted


def grants_to_look_up(events: Iterable[Happening]) -> set[Item]:
    """Return the items whose grants the decisions need."""
    return {event.item for event in events if isinstance(event, Attach | Detach)}


def presume(
    arrivals: Sequence[Arrival], recall: Callable[[Iterable[Item]], dict[Item, Held | Released]]
) -> tuple[list[Happening], Presumed]:
    """Return the events that need a look-up, and what the others are planned over.

    A creation that never came before is planned as if its item were new, if its source is none, is
    recalled, or is of this batch; a release, if its item is recalled, or is made in this batch.

    Args:
        arrivals: events in the order received.
        recall: see `kmworker.ports.Store.recall`.
    """
    made = {it.event.item for it in arrivals if isinstance(it.event, Event)}
    first = [it.event for it in arrivals if it.is_first]
    recalled = recall({item for it in first if (item := _rests_on(it))} - made)
    at_hand = made | recalled.keys()
    needing = [it.event for it in arrivals if not (it.is_first and _is_at_hand(it.event, at_hand))]
    asked = {event.item for event in needing if isinstance(event, Event | Release)}
    recalled = {item: known for item, known in recalled.items() if item not in asked}
    return needing, Presumed(frozenset(made - asked), recalled)


def _rests_on(event: Happening) -> Item | None:
    """Return the item whose record a write for this event is compared with."""
    return event.item if isinstance(event, Release) else _source_beside(event)


def _source_of(event: Happening) -> Item | None:
    """Return the source, if it is one that a store knows: not an image."""
    source = event.derived_from
    return None if source is None or source.kind is Kind.IMAGE else source


def _source_beside(event: Happening) -> Item | None:
    """Return the source, if it is of the same project: in another slot no write can compare it."""
    source = _source_of(event)
    return source if source is not None and source.project == event.item.project else None


def _is_at_hand(event: Happening, at_hand: Collection[Item]) -> bool:
    if isinstance(event, Event) and _source_of(event) is None:
        return True
    return _rests_on(event) in at_hand
