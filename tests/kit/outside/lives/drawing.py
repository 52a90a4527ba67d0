"""Random rounds: what may happen at one time in a few projects, with duplicates and disorder."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from tests.kit.outside.lives import keys as states
from tests.kit.outside.lives.outlook import Outlook, foresee
from tests.kit.outside.lives.world import Action, Command, World
from tests.kit.outside.words import ABSENT, Ask, Asked, Event, Item, Release

PROJECTS: Final = ("lives.a", "lives.b", "lives.c")
MEMBERS: Final = {
    "volume": ("snapshot", "volume", "replica"),
    "snapshot": ("volume", "replica"),
    "replica": ("volume",),
    "partition": ("replica",),
}
"""What may be derived, and from what."""
ASKED: Final[tuple[Asked, ...]] = (
    ABSENT, ABSENT, ABSENT, Ask("aes-xts-plain64", 256), Ask("aes-cbc-essiv:sha256"), None,
)  # fmt: skip
WHATS: Final = {
    "suspend": 2, "resume": 4, "restore": 4, "compromise": 1, "destroy": 2, "now": 3,
}  # fmt: skip
"""What people do, and how often; `now` is `destroy --now`."""
TRIES: Final = 10
ORDERS: Final = 80
NEVER: Final = 99
"""No life has this number, so what derives from it waits in vain."""


@dataclass(slots=True)
class Drawer:
    """Draws rounds, each over what the ones before have come to."""

    rng: Random
    said: list[Event] = field(default_factory=list)
    """Events of former rounds."""
    number: int = 0

    def draw(self, world: World, messages: int, commands: int) -> Outlook:
        """Draw a round; it has fewer actions if too little can happen at one time."""
        actions: list[Action] = []
        kinds: list[tuple[int, Callable[[World, list[Action]], Action | None]]] = [
            (3, self._blank), (6, self._derived), (2, self._member), (5, self._release),
            (2, self._early), (3, self._new_life), (2, self._later_end), (2, self._again),
            (1, self._conflict), (1, self._lost), (2, self._second),
        ]  # fmt: skip
        weights, drawings = zip(*kinds, strict=True)
        for _ in range(4 * messages):
            if len(actions) == messages:
                break
            self._admit(world, actions, self.rng.choices(drawings, weights)[0](world, actions))
        wanted = len(actions) + commands
        for _ in range(4 * commands):
            if len(actions) == wanted:
                break
            self._admit(world, actions, self._command(world))
        return self._sure(world, actions)

    def _admit(self, world: World, actions: list[Action], action: Action | None) -> None:
        if action is None or action in actions:
            return
        found = foresee(world, [*actions, action], self.rng, TRIES)
        if found is not None and self._is_timeless(found, world):
            actions.append(action)

    def _is_timeless(self, found: Outlook, world: World) -> bool:
        """Whether it does not matter when that is given up which waits in vain."""
        lost = {event.item.name for event in (*found.world.waiting, *world.waiting)}
        named = Counter(it.item.name for it in found.actions if not isinstance(it, Command))
        fresh = {event.item.name for event in found.world.waiting} - {
            event.item.name for event in world.waiting
        }
        return all(named[name] == (name in fresh) for name in lost)

    def _sure(self, world: World, actions: list[Action]) -> Outlook:
        """Look at many more orders; leave something out until all agree."""
        self.rng.shuffle(actions)
        while (found := foresee(world, actions, self.rng, ORDERS)) is None:
            actions.pop()
        self.said += [action for action in actions if isinstance(action, Event)]
        return found

    # --- what is created --------------------------------------------------------------

    def _blank(self, world: World, actions: list[Action]) -> Event:
        del world, actions
        return self._event(self._name("volume"), None, self.rng.choice(ASKED))

    def _derived(self, world: World, actions: list[Action]) -> Event | None:
        source = self._life(world, actions)
        return None if source is None else self._from(source)

    def _from(self, source: Item) -> Event:
        rng = self.rng
        kind = rng.choice(MEMBERS[source.kind])
        item = self._name(kind, source.project)
        event = self._event(item, source)
        if kind == "volume":
            if rng.random() < 0.15:
                item = replace(item, project=rng.choice(PROJECTS))
            return replace(
                event, item=item, copy="shared" if rng.random() < 0.3 else None,
                requested=rng.choice((None, None, "create", "clone", "reuse")),
            )  # fmt: skip
        if kind == "replica":
            transport = rng.choice((None, "block", "file", "reencrypt"))
            return replace(event, transport=transport, node="n")
        return replace(event, requested=rng.choice((None, None, "clone")))

    def _member(self, world: World, actions: list[Action]) -> Event:
        known = [name for name in world.items if name.kind == "partition"]
        known += [
            it.source for it in actions
            if isinstance(it, Event) and it.source and it.source.kind == "partition"
        ]  # fmt: skip
        if known and self.rng.random() < 0.7:
            partition = self.rng.choice(known)
        else:
            partition = self._name("partition")
        item = self._name("replica", partition.project)
        return replace(self._event(item, partition), node="n")

    def _new_life(self, world: World, actions: list[Action]) -> Event | None:
        """A name that is there already, or was, and its next life."""
        del actions
        names = [name for name in world.items if name.kind != "partition"]
        if not names:
            return None
        name = self.rng.choice(names)
        record = world.items[name]
        life = replace(name, generation=record.newest + self.rng.choice((0, 1, 1, 2)))
        if name.kind == "volume" and self.rng.random() < 0.5:
            return self._event(life, None)
        before = None if record.fate is None else record.fate.source
        if before is None and name.kind != "volume":
            return None
        event = self._event(life, before)
        return replace(event, node="n") if name.kind == "replica" else event

    def _again(self, world: World, actions: list[Action]) -> Event | None:
        """The very same event, of a life that may be over."""
        del actions
        told = [it for it in self.said if it not in world.waiting]
        if not told:
            return None
        event = self.rng.choice(told)
        record = world.items.get(event.item.name)
        # Which of several equal events was the cause, nobody can tell.
        is_known = record is not None and len(record.causes) == 1
        return event if is_known and event.source != self._never(event) else None

    def _second(self, world: World, actions: list[Action]) -> Event | None:
        """The same again under another id, of this round or of one before."""
        del world
        told = [it for it in (*actions, *self.said[-20:]) if isinstance(it, Event)]
        told = [it for it in told if it.source != self._never(it)]
        return replace(self.rng.choice(told), event_id=self._id("second")) if told else None

    def _conflict(self, world: World, actions: list[Action]) -> Event | None:
        """A creation of what was deleted, or a life of a held name with another source."""
        del actions
        names = [name for name in world.items if name.kind == "volume"]
        if not names:
            return None
        name = self.rng.choice(names)
        life = replace(name, generation=world.items[name].newest)
        return self._event(life, Item(name.project, "image", "other"))

    def _lost(self, world: World, actions: list[Action]) -> Event | None:
        source = self._life(world, actions)
        if source is None or source.kind == "partition":
            return None
        return self._from(replace(source, generation=NEVER))

    def _never(self, event: Event) -> Item | None:
        source = event.source
        return source if source is not None and source.generation == NEVER else Item("", "", "")

    # --- what ends --------------------------------------------------------------------

    def _release(self, world: World, actions: list[Action]) -> Release | None:
        life = self._life(world, actions)
        if life is None or life.kind == "partition":
            return None
        return self._end(life)

    def _later_end(self, world: World, actions: list[Action]) -> Release | None:
        """The end of a life that nobody has heard of, of a name that is known; or a late one."""
        life = self._life(world, actions)
        if life is None or life.kind == "partition":
            return None
        generation = max(0, life.generation + self.rng.choice((-1, 1, 2)))
        return self._end(replace(life, generation=generation))

    def _early(self, world: World, actions: list[Action]) -> Release | Event | None:
        """An end before the beginning, or the beginning after it."""
        blank = [name for name, it in world.items.items() if it.is_early and name.kind == "volume"]
        blank += [
            it.item for it in actions if isinstance(it, Release) and it.item.kind == "volume"
        ]  # fmt: skip
        if blank and self.rng.random() < 0.6:
            name = self.rng.choice(blank)
            record = world.items.get(name.name)
            generation = name.generation if record is None else record.newest
            return self._event(replace(name, generation=generation), None)
        kind = self.rng.choice(("volume", "volume", "snapshot", "replica"))
        return self._end(self._name(kind))

    def _end(self, life: Item) -> Release:
        return Release(life, self._id("end"), "/ends")

    # --- what people do ---------------------------------------------------------------

    def _command(self, world: World) -> Command | None:
        keys = [it for it in world.keys.values() if it.owner.kind != "partition"]
        # Half of the time one that nobody holds: with those there is more to be done.
        free = [key for key in keys if not key.holders]
        chosen = free if free and self.rng.random() < 0.6 else keys
        if not chosen:
            return None
        key = self.rng.choice(chosen)
        weights = WHATS
        if self.rng.random() < 0.75:
            # What can be done to it; else whatever, which may be refused.
            weights = {it: number for it, number in WHATS.items() if _can_be(it, key)}
        what = self.rng.choices([*weights], [*weights.values()])[0]
        time = states.LATER if self.rng.random() < 0.4 else states.SOON
        return Command(what, key.owner, self._id(what), time)

    # --- names ------------------------------------------------------------------------

    def _life(self, world: World, actions: list[Action]) -> Item | None:
        """Choose a life: of those that are, or were, or begin in this round."""
        rng = self.rng
        fresh = [it.item for it in actions if isinstance(it, Event)]
        if fresh and rng.random() < 0.5:
            return rng.choice(fresh)
        lives = [it.fate.item for it in world.items.values() if it.fate is not None]
        # The young ones more often, so that some old ones are let be.
        return lives[-1 - int(len(lives) * rng.random() ** 1.5)] if lives else None

    def _event(self, item: Item, source: Item | None, asked: Asked = ABSENT) -> Event:
        return Event(item, self._id("event"), "/lives", source, asked)

    def _name(self, kind: str, project: str | None = None) -> Item:
        self.number += 1
        return Item(project or self.rng.choice(PROJECTS), kind, f"{kind[0]}{self.number}")

    def _id(self, what: str) -> str:
        self.number += 1
        return f"{what} {self.number} {self.rng.getrandbits(32):08x}"


def _can_be(what: str, key: states.KeyLife) -> bool:
    return what == "compromise" or states.by_person(key, what, "") is not None
