"""What must come of a round, whose actions arrive in any order, some of them more than once.

A round is only what has one right answer: it is played in many orders, and all must agree on
who holds which key, on every state, and on what is refused. What the order may change is which of
two equal events is the cause, how often a key-id went to and fro, and what was said in between.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.kit.outside.lives.keys import Change
from tests.kit.outside.lives.world import ANY, Action, Command, Record, Told, World
from tests.kit.outside.words import Event, Item


@dataclass(frozen=True, slots=True)
class Outlook:
    """What must come of a round."""

    before: World
    world: World
    """Afterwards."""
    must: frozenset[Told]
    may: frozenset[Told]
    changes: dict[Item, tuple[Change, ...] | None]
    """By key-id, in this round; None: to and fro, as the order has it."""
    stats: dict[tuple[str, str], tuple[int, int]]
    """The least and the most that each counter may come to."""
    actions: tuple[Action, ...]

    def after_a_crash(self) -> "Outlook":
        """The same where a worker was killed: of what is over, only the end must be told."""
        over = {
            told for told in self.must
            if not self._is_last(told)
        }  # fmt: skip
        return replace(self, must=self.must - over)

    def _is_last(self, told: Told) -> bool:
        what, name, key, generation = told
        record = self.world.items[name]
        if what == "assigned":
            return record.gone is None and record.newest == generation
        owner = None if record.fate is None else record.fate.key_owner
        return record.gone == generation and owner == key


def foresee(before: World, actions: Sequence[Action], rng: Random, orders: int) -> Outlook | None:
    """Tell what must come of these in any order; None: that depends on the order."""
    worlds = [_played(before, order) for order in _orders(actions, rng, orders)]
    first = worlds[0]
    wanted = _signature(first)
    if any(_signature(world) != wanted for world in worlds[1:]):
        return None
    said = [frozenset(world.said) for world in worlds]
    world = _with_all_causes(_loosened(worlds), actions)
    counters = {name for it in worlds for name in it.stats}
    return Outlook(
        before,
        world,
        frozenset.intersection(*said),
        frozenset.union(*said),
        {owner: _agreed(worlds, owner) for owner in first.keys},
        {
            name: (min(it.stats[name] for it in worlds), max(it.stats[name] for it in worlds))
            for name in counters
        },
        tuple(actions),
    )


def _played(before: World, order: Iterable[Action]) -> World:
    world = before.next_round()
    for action in order:
        world.apply(action)
    return world


def _orders(actions: Sequence[Action], rng: Random, count: int) -> Iterable[list[Action]]:
    yield [*actions]
    yield [*reversed(actions)]
    messages = [action for action in actions if not isinstance(action, Command)]
    for _ in range(count):
        # What is redelivered comes again at some later time.
        order = [*actions, *rng.choices(messages, k=len(messages) // 2)] if messages else [*actions]
        rng.shuffle(order)
        yield order


def _signature(world: World) -> Any:
    return (
        {name: (record.fate, record.gone) for name, record in world.items.items()},
        {owner: replace(key, changes=()) for owner, key in world.keys.items()},
        world.fates, world.refused, world.results, set(world.waiting), world.compromised,
    )  # fmt: skip


def _agreed(worlds: Sequence[World], owner: Item) -> tuple[Change, ...] | None:
    found = {world.keys[owner].changes for world in worlds}
    return found.pop() if len(found) == 1 else None


def _loosened(worlds: Sequence[World]) -> World:
    """Return the first, without what the others do not agree on."""
    world = worlds[0].fork()
    for name, record in world.items.items():
        others = [it.items[name] for it in worlds]
        is_agreed = all(it.was_early == record.was_early for it in others)
        is_same = all(it.former == record.former for it in others)
        world.items[name] = replace(
            record,
            was_early=record.was_early if is_agreed else ANY,
            former=record.former if is_same else ANY,
            released_by=frozenset[Any]().union(*(it.released_by for it in others)),
        )
    for other in worlds[1:]:
        for owner, touching in other.touched.items():
            world.touched.setdefault(owner, set()).update(touching)
    world.stats = Counter(world.stats)
    return world


def _with_all_causes(world: World, actions: Sequence[Action]) -> World:
    """Let each of several equal events be what an item has come of."""
    for name, record in world.items.items():
        if record.born == world.round and record.fate is not None:
            causes = {it.cause for it in actions if isinstance(it, Event) and _is_of(it, record)}
            world.items[name] = replace(record, causes=record.causes | causes)
    return world


def _is_of(event: Event, record: Record) -> bool:
    assert record.fate is not None
    return record.fate.item in {event.item, event.source}
