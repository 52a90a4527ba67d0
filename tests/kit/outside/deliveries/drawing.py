"""Rounds of events that come to the same in any order, and as often as they like."""

from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.kit.outside.deliveries.model import Attachment, Item, World
from tests.kit.outside.wire import said
from tests.kit.outside.words import Message

__all__ = ["NODES", "PROJECTS", "Drawer", "Round"]

PROJECTS: Final = ("dl.a", "dl.b", "dl.c")
NODES: Final = ("n1", "n2", "n3", "n4")
PAST: Final = "2026-01-01T00:00:00.000Z"
FAR: Final = "2090-01-01T00:00:00.000Z"
PLAIN: Final = 0.1
TWICE: Final = 0.3
TIMED: Final = 0.2
EARLY: Final = 0.15
"""Of attachments: those whose end is told a round before them."""


@dataclass(slots=True)
class Round:
    """What is told at one time."""

    messages: list[Message] = field(default_factory=list)
    conflicts: int = 0
    """Events that contradict what was told in another round."""


@dataclass(slots=True)
class Drawer:
    """Draws rounds, each over what the ones before have come to."""

    rng: Random
    world: World
    _number: int = 0
    _to_come: list[Attachment] = field(default_factory=list)
    """Attachments whose end has been told already."""

    def draw(self, size: int) -> Round:
        """Draw a round, and let it come to pass in the world."""
        made, rng = Round(), self.rng
        there, live = self.world.held, self.world.live
        gone = sorted(it for it in self.world.gone if it.kind == "volume")
        for _ in range(size):
            self._create(made, there)
        for item in rng.sample(gone, min(len(gone), size // 4)):
            self._live_again(made, item)
        leaving = [it for it in there if rng.random() < 0.1]
        volumes = [it for it in self.world.held if it.kind == "volume"]
        for _ in range(2 * size):
            self._attach(made, rng.choice(volumes))
        for late in self._to_come[: size // 2]:
            self._say_attached(made, late)
        del self._to_come[: size // 2]
        for attachment in rng.sample(live, min(len(live), size)):
            self._detach(made, attachment)
        for attachment in rng.sample(live, min(len(live), 2)):
            self._contradict(made, attachment)
        for item in leaving:
            self._release(made, item)
        made.messages += rng.choices(made.messages, k=int(TWICE * len(made.messages)))
        rng.shuffle(made.messages)
        return made

    # --- what may happen ----------------------------------------------------------------

    def _create(self, made: Round, there: list[Item]) -> None:
        sources = [it for it in there if self._may_be_copied(it)]
        source = self.rng.choice(sources) if sources and self.rng.random() < 0.4 else None
        if source is not None and source.kind == "volume" and self.rng.random() < 0.4:
            item = Item(source.project, "snapshot", self._name("s"))
            self._hold(item, self.world.keys[source])
            self._say(made, "snapshot-taken", item, snapshot_id=item.name, volume_id=source.name,
                      **self._source_life(source))  # fmt: skip
            return
        item = Item(
            self.rng.choice(PROJECTS) if source is None else source.project, "volume",
            self._name("v"),
        )  # fmt: skip
        is_plain = source is None and self.rng.random() < PLAIN
        self._hold(item, None if is_plain else item)
        more: dict[str, Any] = {"encryption": None} if is_plain else {}
        if source is not None:
            owner = self.world.keys[source]
            assert owner is not None
            self.world.scopes[item] = self.world.scopes[owner]
            named = {"kind": source.kind, "id": source.name}
            more = {"source": named, **self._source_life(source)}
        self._say(made, "volume-created", item, volume_id=item.name, **more)

    def _may_be_copied(self, item: Item) -> bool:
        return self.world.keys[item] is not None and self.world.state_of(item) == "active"

    def _source_life(self, source: Item) -> dict[str, int]:
        generation = self.world.lives[source]
        return {"source_generation": generation} if generation else {}

    def _hold(self, item: Item, owner: Item | None, generation: int = 0) -> None:
        self.world.lives[item] = generation
        self.world.keys[item] = owner
        if owner is not None:
            self.world.scopes.setdefault(owner, owner)

    def _live_again(self, made: Round, item: Item) -> None:
        generation = self.world.lives[item] + 1
        # Its key-id is of this life alone: in the model, that of another name.
        owner = Item(item.project, item.kind, f"{item.name}#{generation}")
        self._hold(item, owner, generation)
        self.world.gone.discard(item)
        self._say(made, "volume-created", item, volume_id=item.name, generation=generation)

    def _attach(self, made: Round, volume: Item) -> None:
        rng, life = self.rng, self.world.lives[volume]
        attachment = Attachment(
            volume, self._name("a"), rng.choice(NODES), rng.choice((life, life, life, life + 1)),
            is_past=rng.random() < TIMED / 2,
        )  # fmt: skip
        if rng.random() < EARLY:
            self._to_come.append(attachment)
            self._detach(made, attachment)
            return
        self._say_attached(made, attachment)

    def _say_attached(self, made: Round, it: Attachment) -> None:
        self.world.attachments.setdefault((it.volume, it.id), it)
        more: dict[str, Any] = {"generation": it.generation} if it.generation else {}
        if it.is_past:
            more["expires_at"] = PAST
        elif self.rng.random() < TIMED:
            more["expires_at"] = FAR
        self._say(made, "volume-attached", it.volume, volume_id=it.volume.name,
                  attachment_id=it.id, node=it.node, **more)  # fmt: skip

    def _detach(self, made: Round, it: Attachment) -> None:
        self.world.over.add((it.volume, it.id))
        self._say(made, "volume-detached", it.volume, volume_id=it.volume.name,
                  attachment_id=it.id)  # fmt: skip

    def _contradict(self, made: Round, it: Attachment) -> None:
        if (it.volume, it.id) in self.world.over:
            # Of what is over, nothing can be said any more.
            return
        made.conflicts += 1
        self._say(made, "volume-attached", it.volume, volume_id=it.volume.name,
                  attachment_id=it.id, node="elsewhere")  # fmt: skip

    def _release(self, made: Round, item: Item) -> None:
        if item in self.world.gone:
            return
        self.world.gone.add(item)
        generation = self.world.lives[item]
        more = {"generation": generation} if generation else {}
        self._say(made, f"{item.kind}-deleted", item, **{f"{item.kind}_id": item.name}, **more)

    def _say(self, made: Round, event_type: str, item: Item, **data: Any) -> None:
        name = f"{event_type} {item.name} {self._name('e')}"
        made.messages.append(said(event_type, name, item.project, **data))

    def _name(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}{self._number}"
