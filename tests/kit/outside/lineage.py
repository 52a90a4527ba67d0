"""Random lineages: what could happen in a few busy projects, drawn from a seed.

Every source here is chosen from what was already drawn, so the events in the
order of drawing are a possible day. Disorder and mischief come later.
"""

import string
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.kit.outside.oracle import Expected, judge
from tests.kit.outside.words import ABSENT, Ask, Asked, Event, Item

FIRST: Final = string.ascii_letters + string.digits
ITEM_REST: Final = FIRST + "._:/@+-"
PROJECT_REST: Final = FIRST + "._@+-"
PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))

LISTED_ASKS: Final = (
    Ask("aes-xts-plain64"),
    Ask("aes-xts-plain64", 256),
    Ask("aes-xts-plain64", 512),
    Ask("aes-cbc-essiv:sha256"),
    Ask("aes-cbc-essiv:sha256", 128),
    Ask("aes-256-gcm"),
)
STREAM_ASKS: Final = (Ask("aes-ctr-plain64"), Ask("aes-ctr-plain64", 128))
DENIED_ASKS: Final = (
    Ask("aes-xts-plain64", 384),
    Ask("aes-cbc-essiv:sha256", 512),
    Ask("AES-XTS-PLAIN64", 512),
    Ask("serpent-xts-plain64"),
)
REQUESTS: Final = ("create", "clone", "reuse")
TRANSPORTS: Final = (None, "block", "file", "reencrypt")
SOURCE_KINDS: Final = {
    "volume": ("snapshot", "volume", "replica"),
    "snapshot": ("volume",),
    "replica": ("volume", "snapshot"),
}
PRODUCERS: Final = (
    "/cinder/blk01",
    "/cinder/blk02",
    "/swift/ring-builder",
    "/z\u00fcrich/\u2116 7",
)


@dataclass(slots=True)
class Grower:
    """Draws events, one after the other, and remembers what they may derive from."""

    rng: Random
    projects: tuple[str, ...] = ()
    events: list[Event] = field(default_factory=list)
    refused: list[Event] = field(default_factory=list)
    """Drawn too, but no item came of them, for what they say of their source's data."""
    _items: dict[str, list[Item]] = field(default_factory=dict)
    _taken: set[Item] = field(default_factory=set)
    _ids: list[str] = field(default_factory=list)
    _fates: dict[Item, Expected] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.projects = self.projects or _projects(self.rng)

    def grow(self, count: int) -> None:
        """Draw this many events of volumes, snapshots and their replicas."""
        while len(self.events) < count:
            kind = self.rng.choices(("volume", "snapshot", "replica"), (45, 30, 25))[0]
            event = self._step(kind)
            known = None if event.source is None else self._fates.get(event.source)
            fate = judge(event, known)
            if isinstance(fate, str):
                self.refused.append(event)
            else:
                self._fates[event.item] = fate
                self._add(event)

    def partitions(self, count: int) -> None:
        """Draw whole partitions. Their replicas agree, whichever comes first."""
        for _ in range(count):
            partition = self.item("partition")
            asked = self.rng.choice((ABSENT, ABSENT, *LISTED_ASKS))
            for _ in range(self.rng.randint(1, 5)):
                self._add(self._member(partition, asked))

    def orphans(self, count: int) -> list[Event]:
        """Draw events that derive from something that never comes, and from each other."""
        lost: list[Event] = []
        while len(lost) < count:
            source = self.item(self.rng.choice(("volume", "snapshot")))
            for _ in range(self.rng.randint(1, 3)):
                event = self.derived_from(source)
                lost.append(event)
                source = event.item
                if source.kind == "replica":
                    break
        return lost

    def denied(self, count: int) -> list[Event]:
        """Draw volumes with a cipher or key size that is not listed, and a snapshot of each."""
        events: list[Event] = []
        for _ in range(count):
            volume = self.event(
                self.item("volume"), self._pick("volume"), encryption=self.rng.choice(DENIED_ASKS)
            )
            events += [volume, self.event(self.item("snapshot", volume.item), volume.item)]
        return events

    def derived_from(self, source: Item) -> Event:
        """Draw an event of any kind that can derive from this source, in its project."""
        kinds = [kind for kind, sources in SOURCE_KINDS.items() if source.kind in sources]
        return self.event(self.item(self.rng.choice(kinds), source), source)

    def event(self, item: Item, source: Item | None, encryption: Asked = ABSENT) -> Event:
        rng = self.rng
        is_replica = item.kind == "replica"
        is_clone = item.kind == "volume" and source is not None
        return Event(
            item=item,
            event_id=self.event_id(),
            producer=rng.choice(PRODUCERS),
            source=source,
            encryption=encryption,
            requested=rng.choice(REQUESTS) if rng.random() < 0.2 else None,
            transport=rng.choice(TRANSPORTS) if is_replica else None,
            node=f"node {rng.randint(1, 9)}" if is_replica else None,
            size_bytes=rng.choice((None, 1, 10 * 2**30, 2**53 + 1)),
            volume_type=rng.choice((None, "luks gold")) if item.kind == "volume" else None,
            copy="shared" if is_clone and rng.random() < 0.15 else None,
            names_project=rng.random() < 0.3,
        )

    def event_id(self) -> str:
        size = self.rng.choice((8, 36, 36, 200))
        text = "".join(self.rng.choices(PRINTABLE, k=size))
        return f"{text}{self.rng.getrandbits(64):016x}"

    def item(self, kind: str, beside: Item | None = None) -> Item:
        """Name a new item, in the project of another one if that is given."""
        while True:
            project = beside.project if beside is not None else self.rng.choice(self.projects)
            item = Item(project, kind, self._item_id())
            if item not in self._taken:
                self._taken.add(item)
                self._ids.append(item.id)
                return item

    def _item_id(self) -> str:
        # The same id under another kind or in another project is another item.
        if self._ids and self.rng.random() < 0.1:
            return self.rng.choice(self._ids)
        size = self.rng.choice((1, 7, 35, 35, 35, 254))
        return self.rng.choice(FIRST) + "".join(self.rng.choices(ITEM_REST, k=size))

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self._items.setdefault(event.item.kind, []).append(event.item)

    def _step(self, kind: str) -> Event:
        source = self._source(kind)
        if source is None:
            return self._root()
        # A snapshot names its volume by id alone, so that cannot be in another project.
        is_abroad = kind != "snapshot" and self.rng.random() < 0.1
        item = self.item(kind, None if is_abroad else source)
        return self.event(item, source, self._asked(kind, (75, 14, 7, 4)))

    def _root(self) -> Event:
        item = self.item("volume")
        asked = self._asked("volume", (50, 28, 14, 8))
        image = Item(self.rng.choice((item.project, "images")), "image", self._item_id())
        return self.event(item, image if self.rng.random() < 0.3 else None, asked)

    def _member(self, partition: Item, asked: Asked) -> Event:
        return self.event(self.item("replica", partition), partition, asked)

    def _source(self, kind: str) -> Item | None:
        if kind == "volume" and self.rng.random() < 0.35:
            return None
        return self._pick(self.rng.choice(SOURCE_KINDS[kind]))

    def _pick(self, kind: str) -> Item | None:
        """Choose a source, a late one rather than an early one, so that chains get long."""
        known = self._items.get(kind, [])
        return known[-1 - int(len(known) * self.rng.random() ** 2)] if known else None

    def _asked(self, kind: str, weights: tuple[int, ...]) -> Asked:
        if kind == "snapshot":
            return ABSENT
        groups: tuple[tuple[Asked, ...], ...] = (
            (ABSENT,),
            LISTED_ASKS,
            STREAM_ASKS,
            (None,),
        )
        return self.rng.choice(self.rng.choices(groups, weights)[0])


def _projects(rng: Random) -> tuple[str, ...]:
    odd = rng.choice(FIRST) + "".join(rng.sample(PROJECT_REST, k=len(PROJECT_REST) // 2))
    longest = "".join(rng.choices(FIRST, k=128))
    return ("2f1d5c1e", "swift-eu1", "a.b.c@dom+x_y-z", odd, longest)
