"""What a batch comes to: events on their way, what to write for them, and the outcome."""

import hashlib
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from enum import Enum

from kmworker.domain.decision import Refuse
from kmworker.domain.endings import grants_thing, newly_over
from kmworker.domain.event import Happening
from kmworker.domain.grants import (
    NO_GRANTS,
    Grants,
    GrantsChanged,
    GrantsSeen,
    changes_between,
)
from kmworker.domain.keys import MANUAL
from kmworker.domain.message import Delivery, Original
from kmworker.domain.model import Assignment, Held, Item, KeyRecord, Released, ScopeRecord, life_ref
from kmworker.domain.producers import vouching
from kmworker.domain.values import value

__all__ = [
    "Arrival",
    "AssignWrite",
    "Committed",
    "Entry",
    "Fresh",
    "GrantWrite",
    "Later",
    "Lives",
    "Nothing",
    "Outcome",
    "ParkWrite",
    "Plan",
    "ReleaseWrite",
    "Repeat",
    "StillWaiting",
    "Write",
    "WriteStatus",
    "ended_by",
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
    generation: int = 0
    """Of its source, that it waits for."""

    @property
    def source_ref(self) -> str:
        """Return what it waits for, by its name within the project."""
        return life_ref(self.source, self.generation)


@value
class Arrival:
    """An event on its way through the steps, and where it came from."""

    event: Happening
    original: Original
    delivery: Delivery | None = None
    """None if it came from the waiting room."""
    entry: Entry | None = None
    attempts: int = 1
    """Tries that failed by a fault of ours, this one included."""
    rounds: int = 1
    """How often it was planned; more than once where another worker was faster."""
    refusals: int = 0
    """How often a queue refused its assignment."""

    @property
    def is_first(self) -> bool:
        """Return whether nobody can have tried this event before, unless it was sent twice."""
        delivery = self.delivery
        if delivery is None or delivery.delivery_count:
            return False
        return self.rounds == self.attempts == 1 and not self.refusals


@value
class Fresh:
    """What a pure planner cannot make for itself."""

    now: str
    """RFC 3339, UTC."""
    new_id: Callable[[], str]
    """Draws a random UUID."""
    kek_id: str
    destroy_at: str = MANUAL
    """When what nobody holds any more is destroyed: RFC 3339, UTC, or `MANUAL`."""
    tombstone_days: float = 30.0
    """How long attachments that are over are remembered."""


@value
class AssignWrite:
    """Assign an item, if its record and its source are still as they were seen."""

    assignment: Assignment
    key: KeyRecord | None
    """A new key-id, for `create` and `clone`; for `reuse` the source's, if it is active again."""
    scope: ScopeRecord | None
    """A new scope, for `create`."""
    source: Held | None
    """What the decision rests on, if it is in the same project."""
    before: Released | None = None
    """The tombstone that the record takes the place of; None: there is no record."""

    @property
    def item(self) -> Item:
        """Return whose record it writes."""
        return self.assignment.item

    @property
    def changed(self) -> KeyRecord | None:
        """Return the key-id of the source's that it changes, if it does."""
        return None if self.key is None or self.key.changed is None else self.key

    def stored(self, data: bytes = b"") -> Held:
        """Return what is known of the item once this is written; ``data`` as it is announced."""
        key, scope, source = self.key, self.scope, self.source
        if source is not None and self.assignment.key_id is not None:
            key, scope = key or source.key, scope or source.scope
        return Held(self.assignment, key, scope, data)


@value
class ReleaseWrite:
    """Make an item's record a tombstone, if it is still as it was seen."""

    released: Released
    before: Held | Released | None
    """None: there is no record."""
    deactivated: KeyRecord | None = None
    """What its key-id becomes, if nobody else holds it."""

    @property
    def item(self) -> Item:
        """Return whose record it writes."""
        return self.released.item


@value
class ParkWrite:
    """Put an event into its source's waiting room, if the source is still absent."""

    source: Item
    item: Item
    name: str
    original: Original
    generation: int = 0
    """Of the source."""

    @property
    def source_ref(self) -> str:
        """Return what it waits for, by its name within the project."""
        return life_ref(self.source, self.generation)


@value
class GrantWrite:
    """Write an item's grants, if they are still as they were seen."""

    item: Item
    before: GrantsSeen | None
    """None: there are none."""
    after: Grants

    @property
    def is_end(self) -> bool:
        """Return whether an attachment is over by it."""
        return newly_over(self.before, self.after)

    @property
    def changed(self) -> GrantsChanged:
        """Return what is to be recorded of it."""
        before = NO_GRANTS if self.before is None else self.before.grants
        return changes_between(self.item, before, self.after)


Write = AssignWrite | ReleaseWrite | ParkWrite | GrantWrite


@value
class Repeat:
    """Nothing to write: what came of the event is there, and is announced again."""

    known: Held | Released


@value
class Nothing:
    """Nothing to write, and nothing to say: it is of a life that is over."""


@value
class Lives:
    """Several records of one item, one after the other: one life ends, another begins."""

    writes: tuple[AssignWrite | ReleaseWrite, ...]


@value
class StillWaiting:
    """A parked event whose source is not there after all."""


@value
class Later:
    """A refusal that rests on what is not committed yet: look up and decide again."""


Outcome = Write | Lives | Repeat | Nothing | Refuse | StillWaiting | Later


@dataclass(slots=True)
class Plan:
    """What to write, in order, and what each event waits for."""

    writes: list[Write] = field(default_factory=list)
    outcomes: list[tuple[Arrival, Outcome]] = field(default_factory=list)
    """One for each event, in the order decided."""
    founded: dict[Item, Item] = field(default_factory=dict)
    """Replica to the partition that its event founds: announced with it."""
    presumed: Container[Item] = frozenset()
    """Items that were not looked up."""


class WriteStatus(Enum):
    """What became of a write."""

    WRITTEN = "written"
    EXISTS = "exists"
    """The item was assigned before; the stored record is returned."""
    STALE = "stale"
    """What the decision rested on has changed: look up and plan again."""
    ORPHAN = "orphan"
    """The item's scope is there without the item."""
    PARKED = "parked"
    FULL = "full"
    """As many of this project's events as may wait there do, or their bytes are."""


@value
class Committed:
    """The result of a write: for an item, what is stored, whoever wrote it."""

    status: WriteStatus
    assignment: Assignment | None = None
    data: bytes = b""
    has_waiting: bool = False
    has_deactivated: bool = False
    """Whether what was released was the last that held its key-id."""
    detail: str = ""
    """Which bound was met, for a person, where too many wait."""


def ended_by(writes: Iterable[Write]) -> dict[str, int]:
    """Return what these end, as it is called in a chain, and which version of it ends it."""
    return {
        grants_thing(it.item.ref): it.after.version
        for it in writes
        if isinstance(it, GrantWrite) and it.is_end
    }


def entry_name(event: Happening, original: Original) -> str:
    """Return the waiting entry's name: equal for equal events, however often delivered.

    Of two users who say the same, one may be heard and the other not: they wait apart.
    """
    digest = hashlib.sha256(event.item.ref.encode())
    digest.update(b"\0")
    digest.update(original.body)
    vouched = vouching(original.properties)
    if "user_id" in vouched:
        digest.update(b"\0" + repr(vouched).encode(errors="replace"))
    return digest.hexdigest()[:32]
