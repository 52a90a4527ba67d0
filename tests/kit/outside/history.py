"""A lineage as the broker gets to see it: out of order, twice, contradicted and spoiled.

A history has two parts. The first may be processed in any order. The second is
sent when the first has settled, because what it says (a conflict, a repeat that
says otherwise) has one right answer only then.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from tests.kit.outside import mischief, oracle
from tests.kit.outside.lineage import Grower
from tests.kit.outside.mischief import Bad
from tests.kit.outside.oracle import Outlook
from tests.kit.outside.wire import dressed
from tests.kit.outside.words import ABSENT, Ask, Event, Item, Message, Refusal

WINDOW: Final = 40
"""How many places an event may overtake or fall behind."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message, and what it says if it can be read."""

    message: Message
    event: Event | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Everything that is sent, and everything that must come of it."""

    first: tuple[Sent, ...]
    later: tuple[Sent, ...]
    outlook: Outlook

    @property
    def sent(self) -> tuple[Sent, ...]:
        return self.first + self.later

    @property
    def opening(self) -> "History":
        """The first part by itself."""
        return History(self.first, (), oracle.foresee(_said(self.first)))

    @property
    def patient(self) -> "History":
        """The same, told to an installation whose deadline is far away."""
        return replace(self, outlook=self.outlook.patient)

    def beside(self, others: Iterable[Sent]) -> "History":
        """The same, with what others have said at the same time as its first part."""
        first = (*self.first, *others)
        return History(first, self.later, oracle.foresee(_said(first, self.later)))

    @property
    def repeats(self) -> list[Event]:
        """The events of the second part that name an assigned item and its source again."""
        return [
            sent.event
            for sent in self.later
            if sent.event is not None and sent.event not in self.outlook.refused
        ]


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of everything a history has."""

    grown: int = 210
    partitions: int = 9
    orphans: int = 10
    denied: int = 4
    refused: int = 12
    repeats: int = 45
    seconds: int = 25
    bad: int = 35
    conflicts: int = 20
    later_repeats: int = 20
    later_seconds: int = 15


def compose(seed: int, shape: Shape | None = None) -> History:
    """Write the history that belongs to a seed."""
    return _Composer(Random(seed), shape or Shape()).compose()


def history(first: Iterable[Event], later: Iterable[Event] = ()) -> History:
    """Write a small history by hand, in the given order."""
    rng = Random(0)
    said = ([*first], [*later])
    sent = [tuple(Sent(dressed(event, rng), event) for event in events) for events in said]
    return History(sent[0], sent[1], oracle.foresee(said))


def refusals(written: History) -> dict[bytes, tuple[Refusal, Sent]]:
    """Tell by body what must be dead-lettered, and for which reason."""
    found: dict[bytes, tuple[Refusal, Sent]] = {}
    for sent in written.sent:
        refusal = sent.refusal or _refusal(sent.event, written.outlook)
        if refusal is not None:
            found[sent.message.body] = (refusal, sent)
    return found


def _refusal(event: Event | None, outlook: Outlook) -> Refusal | None:
    reason = outlook.refused.get(event) if event is not None else None
    if event is None or reason is None:
        return None
    return Refusal(reason, frozenset({event.type}), event.event_id)


class _Composer:
    def __init__(self, rng: Random, shape: Shape) -> None:
        self.rng = rng
        self.shape = shape
        self.grower = Grower(rng)

    def compose(self) -> History:
        shape = self.shape
        self.grower.grow(shape.grown)
        self.grower.partitions(shape.partitions)
        events = self.grower.events
        lost = self.grower.orphans(shape.orphans) + self.grower.denied(shape.denied)
        births = self._dressed(_interleaved(self.rng, events, lost))
        seconds = self._dressed(self._second(event) for event in self._some(shape.seconds))
        bad = [self._bad(case) for case in self.rng.sample(mischief.BAD, shape.bad)]
        repeats = self.rng.choices([*births, *bad], k=shape.repeats)
        # Not repeated: those that wait for their source are one entry, and one dead letter.
        refused = self._dressed(self.grower.refused[: shape.refused])
        first = self._disordered(births, [*seconds, *bad, *repeats, *refused])
        later = self._later(births, bad)
        return History(tuple(first), tuple(later), oracle.foresee(_said(first, later)))

    def _later(self, births: Sequence[Sent], bad: Sequence[Sent]) -> list[Sent]:
        shape = self.shape
        assigned = set(self.grower.events)
        settled = [sent for sent in births if sent.event in assigned]
        later = [
            *self._dressed(self._contradiction(event) for event in self._some(shape.conflicts)),
            *self._dressed(self._otherwise(event) for event in self._some(shape.later_seconds)),
            *self.rng.choices(settled, k=shape.later_repeats),
            *self.rng.choices(bad, k=3),
        ]
        self.rng.shuffle(later)
        return later

    def _some(self, count: int) -> list[Event]:
        return self.rng.choices(self.grower.events, k=count)

    def _dressed(self, events: Iterable[Event]) -> list[Sent]:
        return [Sent(dressed(event, self.rng), event) for event in events]

    def _bad(self, case: Bad) -> Sent:
        nonce = f"{self.rng.getrandbits(96):024x}"
        return Sent(case.make(nonce), refusal=case.refusal(nonce))

    def _second(self, event: Event) -> Event:
        """Tell the same thing again, under another id."""
        return replace(event, event_id=self.grower.event_id(), producer="/cinder/again")

    def _otherwise(self, event: Event) -> Event:
        """Say the same of the item again, and something else of what is not recorded."""
        return replace(
            self._second(event),
            encryption=self.rng.choice((event.encryption, ABSENT)),
            requested=self.rng.choice((None, "create", "clone", "reuse")),
            transport=event.transport and self.rng.choice(("block", "file", "reencrypt")),
            size_bytes=4096,
        )

    def _contradiction(self, event: Event) -> Event:
        """Name the same item again, with a source, an encryption or a node that is not its own."""
        second, what = self._second(event), self.rng.random()
        if event.node is not None and what < 0.3:
            return replace(second, node="another node")
        if event.item.kind != "snapshot" and what < 0.6:
            # Of a size that no item has, so of no item's.
            return replace(second, encryption=Ask("aes-xts-plain64", 384))
        source = self._another_source(event)
        # What is said to be blank has nothing to share.
        return replace(second, source=source, copy=None if source is None else event.copy)

    def _another_source(self, event: Event) -> Item | None:
        kind, source = event.item.kind, event.source
        if kind == "volume" and source is not None and self.rng.random() < 0.3:
            return None
        kinds = {"volume": ("image", "snapshot"), "snapshot": ("volume",), "replica": ("volume",)}
        if source is not None and source.kind == "partition":
            # A partition that nobody knows, and that a conflict must not bring about.
            return self.grower.item("partition", event.item)
        return self.grower.item(self.rng.choice(kinds[kind]), event.item)

    def _disordered(self, births: Sequence[Sent], others: Sequence[Sent]) -> list[Sent]:
        placed = [(at + self.rng.uniform(0, WINDOW), sent) for at, sent in enumerate(births)]
        placed += [(self.rng.uniform(0, len(births) + WINDOW), sent) for sent in others]
        return [sent for _, sent in sorted(placed, key=lambda entry: entry[0])]


def _interleaved(rng: Random, events: Sequence[Event], others: Sequence[Event]) -> list[Event]:
    placed: list[tuple[float, Event]] = [(at, event) for at, event in enumerate(events)]
    placed += [(rng.uniform(0, len(events)), event) for event in others]
    return [event for _, event in sorted(placed, key=lambda entry: entry[0])]


def _said(*parts: Iterable[Sent]) -> list[list[Event]]:
    return [[sent.event for sent in part if sent.event is not None] for part in parts]
