"""All that is told, in one order, and what the contract says must come of it.

Lives of one name are told apart by `Item.generation`; a name is that of generation 0.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from tests.kit.outside.lives import keys as states
from tests.kit.outside.lives.keys import KeyLife
from tests.kit.outside.oracle import Expected, contradicts, judge
from tests.kit.outside.words import Event, Item, Release

Cause = tuple[str, str, str]
Told = tuple[str, Item, Item | None, int]
"""An announcement: `assigned` or `released`, the name, whose key-id it has, and the generation."""

ANY: Final = "any"
"""Depends on the order of arrival, and either is right."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a person does with a key-id; the reason tells it from all others."""

    what: str
    key: Item
    """By the life that brought it into the world."""
    reason: str
    time: str = states.SOON


Action = Event | Release | Command


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a name."""

    fate: Expected | None = None
    """Of its last life that was assigned."""
    causes: frozenset[Cause] = frozenset()
    gone: int | None = None
    """The generation of its tombstone."""
    released_by: frozenset[Cause] = frozenset()
    was_early: bool | str = False
    former: Item | str | None = None
    """The life before this one; `ANY` where that was never heard of."""
    born: int = 0
    ended: int = 0
    """In which round."""

    @property
    def newest(self) -> int:
        if self.gone is not None:
            return self.gone
        assert self.fate is not None
        return self.fate.item.generation

    @property
    def is_early(self) -> bool:
        """Whether its newest life was released before it was heard of."""
        return self.gone is not None and (
            self.fate is None or self.fate.item.generation != self.gone
        )


@dataclass(slots=True)
class World:
    """What has come of everything that was told so far; nothing in it changes, all is replaced."""

    items: dict[Item, Record] = field(default_factory=dict)
    fates: dict[Item, Expected] = field(default_factory=dict)
    """By life, of all that ever were."""
    keys: dict[Item, KeyLife] = field(default_factory=dict)
    compromised: dict[Item, str] = field(default_factory=dict)
    """Scopes, by whose reason."""
    waiting: tuple[Event, ...] = ()
    refused: dict[Event, str] = field(default_factory=dict)
    results: dict[Command, bool] = field(default_factory=dict)
    said: set[Told] = field(default_factory=set)
    touched: dict[Item, set[Cause]] = field(default_factory=dict)
    """Key-ids, by the events of this round that may have changed them."""
    stats: Counter[tuple[str, str]] = field(default_factory=Counter)
    round: int = 0

    def fork(self) -> "World":
        return World(
            dict(self.items), dict(self.fates), dict(self.keys), dict(self.compromised),
            self.waiting, dict(self.refused), dict(self.results), set(self.said),
            {key: set(causes) for key, causes in self.touched.items()},
            Counter(self.stats), self.round,
        )  # fmt: skip

    def next_round(self) -> "World":
        """Return the same with nothing having happened in the round that begins."""
        after = self.fork()
        after.round += 1
        after.keys = {owner: replace(key, changes=()) for owner, key in self.keys.items()}
        after.said, after.refused, after.results, after.touched = set(), {}, {}, {}
        return after

    def key_of(self, fate: Expected | None) -> KeyLife | None:
        owner = None if fate is None else fate.key_owner
        return None if owner is None else self.keys[owner]

    def family(self, scope: Item) -> list[KeyLife]:
        """Return the key-ids of a scope."""
        return [key for key in self.keys.values() if key.scope == scope]

    def apply(self, action: Action) -> None:
        if isinstance(action, Event):
            self._create(action)
        elif isinstance(action, Release):
            self._release(action)
        else:
            self._obey(action)

    # --- commands, and time -----------------------------------------------------------

    def _obey(self, command: Command) -> None:
        key = self.keys[command.key]
        if command.what == "compromise":
            self.results[command] = key.own != states.DESTROYED
            if key.own != states.DESTROYED:
                self._compromise(key.scope, command.reason)
            return
        after = states.by_person(key, command.what, command.reason, command.time)
        self.results[command] = after is not None
        if after is not None:
            self.keys[command.key] = after

    def _compromise(self, scope: Item, reason: str) -> None:
        reason = self.compromised.setdefault(scope, reason)
        for key in self.family(scope):
            self.keys[key.owner] = states.compromised(key, reason)

    def pass_time(self) -> None:
        """Let everything come that is soon, and a janitor go over it once."""
        self.keys = {owner: states.by_janitor(key) for owner, key in self.keys.items()}
        self.refused |= dict.fromkeys(self.waiting, "source-missing")
        self.waiting = ()

    # --- what is created --------------------------------------------------------------

    def _create(self, event: Event) -> None:
        own = self.items.get(event.item.name)
        self._touch(own, event)
        if own is not None and self._as_before(event, own):
            return
        outcome = self._judged(event)
        if outcome is None:
            self.waiting = (*self.waiting, event)
        elif isinstance(outcome, str):
            self.refused[event] = outcome
        else:
            self._assign(event.cause, outcome, own)

    def _as_before(self, event: Event, own: Record) -> bool:
        """Whether there is an answer already: no new life begins."""
        if event.item.generation != own.newest:
            return event.item.generation < own.newest
        if own.is_early:
            return False
        assert own.fate is not None
        known = replace(own.fate, causes=own.causes)
        if own.gone is None:
            if contradicts(event, known):
                self.refused[event] = "conflict"
            elif own.born == self.round:
                self.items[event.item.name] = replace(own, causes=own.causes | {event.cause})
        elif event.cause not in own.causes:
            self.refused[event] = "conflict"
        return True

    def _judged(self, event: Event) -> Expected | str | None:
        source = event.source
        if source is None or source.kind == "image":
            return judge(event, None)
        record = self.items.get(source.name)
        if record is None:
            if source.kind != "partition" or not self._found(event, source):
                return None
            record = self.items[source]
        fate = record.fate
        if fate is None or fate.item.generation != source.generation:
            newest = record.newest
            is_to_come = newest < source.generation
            if is_to_come or (record.is_early and newest == source.generation):
                return None
            return "source-unusable"
        key = self.key_of(fate)
        if key is not None and key.own == states.DESTROYED:
            return "source-unusable"
        is_doubted = key is not None and key.state not in {states.ACTIVE, states.DEACTIVATED}
        return judge(event, fate, is_doubted=is_doubted)

    def _found(self, event: Event, partition: Item) -> bool:
        """Bring about the partition that its first replica names."""
        outcome = judge(replace(event, source=None, node=None), None)
        if isinstance(outcome, str):
            return False
        owner = partition if outcome.has_key else None
        fate = replace(outcome, item=partition, key_owner=owner, scope_owner=owner)
        self._assign(event.cause, fate, None)
        return True

    def _assign(self, cause: Cause, fate: Expected, own: Record | None) -> None:
        life, name = fate.item, fate.item.name
        fate = replace(fate, causes=frozenset())
        former: Item | str | None = None
        if own is not None and own.gone is None:
            assert own.fate is not None
            former = own.fate.item
            self._say_released(name, own.fate, own.fate.item.generation)
            self._let_go(own.fate, cause)
            self.stats[name.project, "released"] += 1
        elif own is not None and own.gone != life.generation:
            # Its end is told once more with the life that follows.
            is_known = own.fate is not None and own.fate.item.generation == own.gone
            former = own.fate.item if own.fate is not None and is_known else ANY
        if own is not None:
            forgotten = "early" if own.fate is None else f"{own.fate.disposition}_forgotten"
            self.stats[name.project, forgotten] += -1 if own.fate is None else 1
        self._bring_key(cause, fate)
        self.fates[life] = fate
        self.said.add(("assigned", name, fate.key_owner, life.generation))
        self.stats[name.project, fate.disposition] += 1
        record = Record(fate, frozenset({cause}), former=former, born=self.round)
        if own is not None and own.gone == life.generation:
            self._say_released(name, fate, life.generation)
            self.stats[name.project, "released"] += 1
            record = replace(
                record, gone=own.gone, released_by=own.released_by, was_early=True,
                ended=self.round,
            )  # fmt: skip
        self.items[name] = record
        if record.gone is not None:
            self._let_go(fate, *own.released_by if own is not None else ())
        self._take_along(name)

    def _bring_key(self, cause: Cause, fate: Expected) -> None:
        owner, scope = fate.key_owner, fate.scope_owner
        if owner is None or scope is None:
            return
        if owner not in self.keys:
            cloned_from = self.fates[fate.cloned_from].key_owner if fate.cloned_from else None
            self.keys[owner] = KeyLife(
                owner, scope, cloned_from, is_compromised=scope in self.compromised
            )
        self.keys[owner] = states.joined(self.keys[owner], fate.item)
        self.touched.setdefault(owner, set()).add(cause)

    def _take_along(self, name: Item) -> None:
        """Decide what has waited for this one."""
        ready = [event for event in self.waiting if event.source and event.source.name == name]
        if ready:
            self.waiting = tuple(event for event in self.waiting if event not in ready)
            for event in ready:
                self._create(event)

    # --- what is gone -----------------------------------------------------------------

    def _release(self, event: Release) -> None:
        name, generation = event.item.name, event.item.generation
        own = self.items.get(name)
        self._touch(own, event)
        if own is None:
            self.stats[name.project, "early"] += 1
        elif generation < own.newest:
            return
        elif own.gone == generation:
            if own.ended == self.round:
                causes = own.released_by | {event.cause}
                self.items[name] = replace(own, released_by=causes)
            return
        elif own.gone is None and own.fate is not None:
            self._let_go(own.fate, event.cause)
        self.stats[name.project, "released"] += 1
        self.items[name] = replace(
            own or Record(), gone=generation, released_by=frozenset({event.cause}),
            was_early=False, ended=self.round,
        )  # fmt: skip
        self._say_released(name, None if own is None else own.fate, generation)

    def _say_released(self, name: Item, fate: Expected | None, generation: int) -> None:
        self.said.add(("released", name, None if fate is None else fate.key_owner, generation))

    def _let_go(self, fate: Expected, *causes: Cause) -> None:
        key = self.key_of(fate)
        if key is not None:
            self.keys[key.owner] = states.let_go(key, fate.item)
            self.touched.setdefault(key.owner, set()).update(causes)

    def _touch(self, own: Record | None, event: Event | Release) -> None:
        """Note that this event may have changed a key-id, had it come first."""
        if own is not None and own.fate is not None and own.fate.key_owner is not None:
            self.touched.setdefault(own.fate.key_owner, set()).add(event.cause)
