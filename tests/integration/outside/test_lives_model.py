"""The model of lives and keys, held against the contract's two tables by hand."""

from dataclasses import replace
from random import Random

import pytest

from tests.kit.outside.lives import keys as states
from tests.kit.outside.lives.drawing import Drawer
from tests.kit.outside.lives.keys import KeyLife, by_janitor, by_person, compromised
from tests.kit.outside.lives.outlook import foresee
from tests.kit.outside.lives.world import Action, Command, World
from tests.kit.outside.words import Event, Item, Release

V = Item("p", "volume", "v")
S = Item("p", "snapshot", "s")
W = Item("p", "volume", "w")
PARTITION = Item("p", "partition", "x")
MADE = Event(V, "made", "/m")
TAKEN = Event(S, "taken", "/m", V)
ENDED = Release(V, "ended", "/m")
ALL = (states.ACTIVE, states.DEACTIVATED, states.SUSPENDED, states.DESTROYED)


def life(item: Item, generation: int) -> Item:
    return replace(item, generation=generation)


def told(*actions: Action) -> World:
    world = World(round=1)
    for action in actions:
        world.apply(action)
    return world


def key(own: str, *, held: bool = False, due: str | None = None) -> KeyLife:
    return KeyLife(V, V, None, own, due=due, holders=frozenset({V} if held else ()))


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("suspend", ("suspended", "suspended", None, None)),
        ("resume", (None, None, "deactivated", None)),
        ("restore", (None, "active", None, None)),
        ("destroy", (None, "deactivated", "deactivated", None)),
        ("now", (None, "destroyed", "destroyed", None)),
    ],
)
def test_what_people_do_with_what_nobody_holds(what: str, wanted: tuple[str | None, ...]) -> None:
    found = [by_person(key(own), what, "why") for own in ALL]
    assert [None if it is None else it.own for it in found] == list(wanted)


def test_what_somebody_holds_is_neither_destroyed_nor_deactivated() -> None:
    held = key(states.SUSPENDED, held=True)
    assert by_person(held, "now", "why") is None
    assert by_person(held, "destroy", "why") is None
    resumed = by_person(held, "resume", "why")
    assert resumed is not None
    assert resumed.own == states.ACTIVE


def test_what_is_compromised_can_be_destroyed_though_it_was_active() -> None:
    leaked = compromised(key(states.ACTIVE), "why")
    assert leaked.state == states.COMPROMISED
    gone = by_person(leaked, "now", "why")
    assert gone is not None
    assert gone.state == states.DESTROYED
    assert [it.type for it in gone.changes] == ["key-compromised", "key-destroyed"]


def test_a_person_does_not_put_off_what_comes_sooner() -> None:
    soon = by_person(key(states.DEACTIVATED, due=states.SOON), "destroy", "why", states.LATER)
    later = by_person(key(states.SUSPENDED), "destroy", "why", states.LATER)
    assert soon is not None
    assert later is not None
    assert (soon.due, later.due) == (states.SOON, states.LATER)


def test_what_time_does() -> None:
    restored = by_person(key(states.DEACTIVATED), "restore", "why")
    assert restored is not None
    assert by_janitor(restored).own == states.DEACTIVATED
    assert by_janitor(key(states.DEACTIVATED, due=states.SOON)).own == states.DESTROYED
    assert by_janitor(key(states.DEACTIVATED, due=states.LATER)).changes == ()
    assert by_janitor(key(states.SUSPENDED)).changes == ()
    assert by_janitor(key(states.ACTIVE, held=True)).changes == ()


def test_the_last_release_deactivates_and_a_reuse_activates() -> None:
    world = told(MADE, ENDED, TAKEN)
    assert [it.type for it in world.keys[V].changes] == ["key-deactivated", "key-restored"]
    assert world.keys[V].holders == {S}
    assert told(MADE, TAKEN, ENDED).keys[V].changes == ()


def test_a_partition_stands_for_its_replicas() -> None:
    replica = Item("p", "replica", "r")
    added = Event(replica, "added", "/m", PARTITION, node="n")
    world = told(added, Release(replica, "gone", "/m"))
    assert world.keys[PARTITION].holders == {PARTITION}
    assert world.keys[PARTITION].changes == ()


def released(*generations: int) -> set[tuple[bool, int]]:
    """Releases as they are said: with a key-id or without, and of which generation."""
    return {(it >= 0, abs(it) - (it < 0)) for it in generations}


NEXT = Event(life(V, 1), "next", "/m")
AGAIN = replace(MADE, event_id="again")
SAID: dict[str, tuple[tuple[Action, ...], set[tuple[bool, int]], int | None]] = {
    "assigned, same generation": ((MADE, ENDED), released(0), 0),
    "released, same generation": ((MADE, ENDED, replace(ENDED, event_id="e")), released(0), 0),
    "of a higher generation": ((NEXT, ENDED), set(), None),
    "of a lower generation": ((MADE, Release(life(V, 2), "e", "/m")), released(2), 2),
    "unknown": ((ENDED,), released(-1), 0),
    "created by the same": ((MADE, ENDED, MADE), released(0), 0),
    "created after its end": ((ENDED, MADE), released(-1, 0), 0),
    "a new life of what is there": ((MADE, NEXT), released(0), None),
    "a new life of what is gone": ((MADE, ENDED, NEXT), released(0), None),
    "a late creation": ((NEXT, MADE), set(), None),
}


@pytest.mark.parametrize(("actions", "wanted", "gone"), SAID.values(), ids=SAID)
def test_the_table_of_releases(
    actions: tuple[Action, ...], wanted: set[tuple[bool, int]], gone: int | None
) -> None:
    world = told(*actions)
    said = {(owner is not None, number) for what, _n, owner, number in world.said if what[0] == "r"}
    assert said == wanted
    assert world.items[V].gone == gone
    assert not world.refused


def test_another_creation_of_what_was_deleted_is_a_conflict() -> None:
    assert told(MADE, ENDED, AGAIN).refused == {AGAIN: "conflict"}


def test_what_is_derived() -> None:
    later = replace(TAKEN, source=life(V, 1))
    assert told(MADE, ENDED, TAKEN).fates[S].key_owner == V
    assert told(MADE, later).waiting == (later,)
    assert told(MADE, NEXT, TAKEN).refused == {TAKEN: "source-unusable"}
    gone = told(MADE, ENDED, Command("now", V, "why"), TAKEN)
    assert gone.refused == {TAKEN: "source-unusable"}


def test_a_doubted_key_is_not_given_to_what_is_written_anew() -> None:
    copy = Event(W, "copy", "/m", V)
    shared = replace(copy, copy="shared")
    world = told(MADE, Command("suspend", V, "why"), copy)
    assert (world.fates[W].disposition, world.fates[W].guard) == ("create", "source-not-active")
    world = told(MADE, Command("compromise", V, "why"), shared)
    assert (world.fates[W].disposition, world.fates[W].guard) == ("clone", "source-not-active")
    assert world.keys[W].state == states.COMPROMISED
    assert world.keys[W].changes == ()


def test_each_life_has_a_scope_of_its_own() -> None:
    world = told(MADE, ENDED, NEXT)
    assert world.fates[life(V, 1)].scope_owner == life(V, 1)
    assert world.keys.keys() == {V, life(V, 1)}


def test_an_order_that_matters_is_no_round() -> None:
    rng = Random(1)
    assert foresee(World(), [MADE, TAKEN, ENDED], rng, 20) is not None
    assert foresee(World(), [MADE, ENDED, AGAIN], rng, 20) is None
    assert foresee(World(), [MADE, NEXT], rng, 20) is None


def test_what_the_order_decides_is_left_open() -> None:
    found = foresee(World(), [MADE, TAKEN, ENDED], Random(1), 20)
    assert found is not None
    assert found.changes[V] is None
    assert ("released", V, None, 0) in found.may - found.must
    assert ("released", V, V, 0) in found.must


def test_rounds_have_everything_in_them() -> None:
    whats: set[str] = set()
    types: set[str] = set()
    reasons: set[str] = set()
    for seed in range(5):
        drawer, world = Drawer(Random(seed)), World()
        for commands in (0, 6, 6, 6):
            found = drawer.draw(world, 14, commands)
            whats |= {it.what for it in found.actions if isinstance(it, Command)}
            reasons |= set(found.world.refused.values())
            types |= {it.type for made in found.changes.values() for it in made or ()}
            world = found.world
    assert whats == {"suspend", "resume", "restore", "compromise", "destroy", "now"}
    assert types == set(states.TYPES)
    assert {"conflict", "policy-denied"} <= reasons
