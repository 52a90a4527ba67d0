"""What is made of the classes of events: how they are found, and how their data are read."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter

from kmworker.wire.events import types
from kmworker.wire.events.lifecycle import CreatingEvent, LifecycleEvent
from kmworker.wire.events.parts import From, Rfc3339, Strict, reads_fields
from kmworker.wire.fields import EVENT_ID, ShortText

__all__ = ["CREATING_TYPES", "EVENTS", "EVENT_TYPES", "Envelope", "data_of", "source_of"]

EVENTS: Final[Mapping[str, type[LifecycleEvent]]] = {
    it.type: it for it in (vars(types)[name] for name in types.__all__)
}
"""The class of each type of event."""
EVENT_TYPES: Final = tuple(EVENTS)
CREATING_TYPES: Final = tuple(n for n, it in EVENTS.items() if issubclass(it, CreatingEvent))
"""Those by which an item comes to be."""


class Envelope(Strict):
    """The CloudEvents 1.0 attributes that every event has."""

    # Extension attributes are anybody's (CloudEvents 1.0, section "Extension Context Attributes").
    model_config = ConfigDict(extra="ignore")

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Annotated[str, Field(pattern=EVENT_ID)]
    """With `source`, identifies the event: printable ASCII."""
    source: ShortText
    """Who publishes: a URI reference, by convention a path such as `/cinder/blk01`."""
    type: Annotated[str, Field(min_length=1)]
    """What happened; the message's routing key is the same."""
    time: Rfc3339 | None = None
    """When it happened, in RFC 3339; second 60 is a leap second."""


@cache
def data_of(event: type[LifecycleEvent]) -> TypeAdapter[dict[str, Any]]:
    """Return what reads the data of an event: the fields that it has, as their values."""
    return reads_fields(event.__name__, event.data_fields())


def source_of(event: type[LifecycleEvent]) -> From | None:
    """Return how the item is written that an event's item may be derived from."""
    annotations = (it.type for it in event.data_fields() if it.name == "source")
    parts = (part for whole in annotations for part in (whole, *get_args(whole)))
    marks = (mark for part in parts for mark in getattr(part, "__metadata__", ()))
    return next((mark for mark in marks if isinstance(mark, From)), None)
