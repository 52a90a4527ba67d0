"""What a batch comes to: events on their way, what to write for them, and the outcome."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from kmworker.decision import Refuse
from kmworker.events import Event
from kmworker.message import Delivery, Original
from kmworker.model import Assignment, Held, Item, KeyRecord, ScopeRecord
from kmworker.values import value

__all__ = [
    "Arrival",
    "AssignWrite",
    "Entry",
    "Fresh",
    "Later",
    "Outcome",
    "ParkWrite",
    "Plan",
    "Repeat",
    "StillWaiting",
    "Write",
    "entry_name",
]


@value
class Entry:
    """A parked event that was taken from the waiting room for another try."""

    source: Item
    """Whose slot it waits in."""
    name: str
    attempts: int
    """Tries so far, this one included; on disk before the try."""
    expired: bool
    """Marked past its deadline while its source was absent: it may not be assigned."""


@value
class Arrival:
    """An event on its way through the steps, and where it came from."""

    event: Event
    original: Original
    delivery: Delivery | None = None
    """None if it came from the waiting room."""
    entry: Entry | None = None
    attempts: int = 1
    """Tries that failed by a fault of ours, this one included."""
    rounds: int = 1
    """How often it was planned; more than once where another worker was faster."""


@value
class Fresh:
    """What a pure fold cannot make for itself."""

    now: str
    """RFC 3339, UTC."""
    new_id: Callable[[], str]
    """Draws a random UUID."""
    kek_id: str


@value
class AssignWrite:
    """Assign an item, if it is unassigned and its source is still as it was seen."""

    assignment: Assignment
    key: KeyRecord | None
    """A new key-id, for `create` and `clone`."""
    scope: ScopeRecord | None
    """A new scope, for `create`."""
    source: Held | None
    """What the decision rests on, if it is in the same project."""


@value
class ParkWrite:
    """Put an event into its source's waiting room, if the source is still absent."""

    source: Item
    item: Item
    name: str
    original: Original


Write = AssignWrite | ParkWrite


@value
class Repeat:
    """Nothing to write: the item was assigned before, from the same source."""

    held: Held


@value
class StillWaiting:
    """A parked event whose source is not there after all."""


@value
class Later:
    """A refusal that rests on what is not committed yet: look up and decide again."""


Outcome = AssignWrite | ParkWrite | Repeat | Refuse | StillWaiting | Later


@dataclass(slots=True)
class Plan:
    """What to write, in order, and what each event waits for."""

    writes: list[Write] = field(default_factory=list)
    outcomes: list[tuple[Arrival, Outcome]] = field(default_factory=list)
    """One for each event, in the order decided."""
    founded: dict[Item, Item] = field(default_factory=dict)
    """Replica to the partition that its event founds: announced with it."""


def entry_name(event: Event, original: Original) -> str:
    """Return the waiting entry's name: equal for equal events, however often delivered."""
    digest = hashlib.sha256(event.item.ref.encode())
    digest.update(b"\0")
    digest.update(original.body)
    return digest.hexdigest()[:32]
