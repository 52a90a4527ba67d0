"""Items that are gone: in every order with their creations, their sources' and their derivations'.

Each trap is one that somebody fell into. What is expected is written down here, by keys and
announcements as a subscriber sees them.
"""

import json
from itertools import permutations
from typing import Any

import pytest

from kmworker.domain.model import Item, Kind
from tests.kit.simulator.events import (
    Sent,
    partition_replica,
    release,
    replica,
    snapshot,
    volume,
)
from tests.kit.simulator.installation import Installation, Limits
from tests.kit.simulator.steps import Crash, Fault

V, W = Item("p1", Kind.VOLUME, "v"), Item("p1", Kind.VOLUME, "w")
S = Item("p1", Kind.SNAPSHOT, "s")
Q, R = Item("p1", Kind.REPLICA, "q"), Item("p1", Kind.REPLICA, "r")


def told(site: Installation) -> list[tuple[str, str, str | None]]:
    """What was announced, in order, without repeats: what, of which item, with which key-id."""
    found = []
    for message in site.announcements:
        body = json.loads(message.body)
        data = body["data"]
        item = f"{data['item']['kind']}:{data['item']['id']}"
        found.append((body["type"].removeprefix("key-"), item, data["key_id"]))
    return list(dict.fromkeys(found))


def record(site: Installation, item: Item) -> dict[str, Any]:
    raw = site.redis.hget(site.names.of(item.project, "items"), item.ref)
    assert raw is not None
    return dict(json.loads(raw))


def key_of(site: Installation, item: Item) -> str:
    return str(record(site, item)["data"]["key_id"])


def scope_of(site: Installation, item: Item) -> str:
    return str(record(site, item)["data"]["scope_id"])


def holders(site: Installation, key_id: str, project: str = "p1") -> int:
    return int(site.redis.hget(site.names.of(project, "holders"), key_id) or 0)


def deks(site: Installation, project: str = "p1") -> set[str]:
    return {name.decode() for name in site.redis.hkeys(site.names.of(project, "deks"))}


# --- releases -------------------------------------------------------------------------


def test_a_release_leaves_a_tombstone_and_is_announced(site: Installation) -> None:
    site.handle(volume("v"))
    key_id = key_of(site, V)
    before = record(site, V)["data"]
    site.handle(release(V, event_id="gone"))
    left = record(site, V)
    assert (left["state"], left["data"], left["released_by"]["id"]) == ("released", before, "gone")
    assert told(site) == [("assigned", "volume:v", key_id), ("released", "volume:v", key_id)]
    message = site.announcements[-1]
    body = json.loads(message.body)
    assert message.routing_key == "key-released.volume.p1"
    assert body["data"].keys() == {"item", "project_id", "key_id", "cause", "at"}
    assert body["data"]["at"] == left["released_at"]
    assert holders(site, key_id) == 0


def test_a_release_that_comes_again_is_announced_with_the_same_bytes(site: Installation) -> None:
    site.handle(volume("v"), release(V))
    site.handle(release(V), release(V, event_id="another"))
    released = [it.body for it in site.announcements if b"key-released" in it.body]
    assert len(released) > 1
    assert len(set(released)) == 1


@pytest.mark.parametrize("batch_max", [1, 8])
def test_whatever_the_order_the_same_is_left(batch_max: int) -> None:
    """A volume, its snapshot, and both ends: what is left depends on nothing else."""
    events = [volume("v"), snapshot("s", "v"), release(V), release(S)]
    for order in permutations(events):
        site = Installation(Limits(batch_max=batch_max))
        site.handle(*order)
        site.handle(*order[:2])
        assert {record(site, it)["state"] for it in (V, S)} == {"released"}, order
        assert key_of(site, V) == key_of(site, S)
        assert holders(site, key_of(site, V)) == 0
        assert {it for it in told(site) if it[0] == "assigned"} == {
            ("assigned", it.ref, key_of(site, V)) for it in (V, S)
        }
        assert {it[1] for it in told(site) if it[0] == "released"} == {V.ref, S.ref}
        assert not site.letters
        assert not site.waiting()


def test_deleting_one_of_several_never_makes_another_unreadable(site: Installation) -> None:
    """Siblings of one image lost their key in a public cloud: Launchpad 1852106."""
    site.handle(volume("v"), snapshot("s", "v"), volume("w", S))
    shared, cloned, scope = key_of(site, V), key_of(site, W), scope_of(site, V)
    assert scope_of(site, W) == scope
    site.handle(release(V))
    assert holders(site, shared) == 1
    site.handle(release(S))
    assert holders(site, shared) == 0
    assert holders(site, cloned) == 1
    assert deks(site) == {scope}
    assert record(site, W)["state"] == "active"


def test_neither_an_origin_nor_a_clone_ten_deep_takes_the_others_along(site: Installation) -> None:
    chain = [volume("v0")]
    for number in range(1, 11):
        chain.append(volume(f"v{number}", chain[-1].item))
    site.handle(*chain)
    site.handle(release(chain[0].item), release(chain[5].item))
    left = [it.item for it in chain if it.item not in {chain[0].item, chain[5].item}]
    assert {record(site, it)["state"] for it in left} == {"active"}
    assert {scope_of(site, it.item) for it in chain} == deks(site)
    site.handle(volume("late", chain[5].item))
    assert scope_of(site, Item("p1", Kind.VOLUME, "late")) in deks(site)


def test_what_is_gone_may_be_derived_from_as_before(site: Installation) -> None:
    site.handle(volume("v"), release(V), snapshot("s", "v"))
    assert key_of(site, S) == key_of(site, V)
    assert holders(site, key_of(site, V)) == 1


# --- lives ----------------------------------------------------------------------------


def test_a_name_that_is_used_again_gets_a_new_dek(site: Installation) -> None:
    site.handle(volume("v"), release(V))
    first, scope = key_of(site, V), scope_of(site, V)
    site.handle(volume("v", event_id="again", generation=1))
    assert key_of(site, V) != first
    assert scope_of(site, V) != scope
    assert len(deks(site)) == 2
    assert [(what, key_id == first) for what, _item, key_id in told(site)] == [
        ("assigned", True), ("released", True), ("assigned", False),
    ]  # fmt: skip


def test_a_life_that_nobody_ended_is_released_before_the_next(site: Installation) -> None:
    site.handle(volume("v"))
    first = key_of(site, V)
    site.handle(volume("v", event_id="again", generation=4))
    assert told(site)[1:] == [
        ("released", "volume:v", first), ("assigned", "volume:v", key_of(site, V)),
    ]  # fmt: skip
    assert holders(site, first) == 0


@pytest.mark.parametrize("late", [volume("v"), release(V), volume("v", event_id="other")])
def test_a_late_duplicate_of_a_former_life_changes_nothing(site: Installation, late: Sent) -> None:
    site.handle(volume("v"), release(V), volume("v", event_id="again", generation=1))
    before, said = record(site, V), told(site)
    site.handle(late)
    assert record(site, V) == before
    assert told(site) == said
    assert not site.letters
    site.handle(release(V, 1))
    site.handle(late)
    assert record(site, V)["generation"] == 1


def test_a_late_snapshot_of_the_old_life_does_not_join_the_new_one(site: Installation) -> None:
    site.handle(volume("v"), release(V), volume("v", event_id="again", generation=1))
    site.handle(snapshot("s", "v"))
    assert site.reasons() == {"event-snapshot-s": "source-unusable"}
    site.handle(snapshot("t", "v", source_generation=1))
    assert key_of(site, Item("p1", Kind.SNAPSHOT, "t")) == key_of(site, V)


def test_an_event_waits_for_the_life_that_it_means_and_goes_on_with_it(site: Installation) -> None:
    site.handle(volume("v"), snapshot("t", "v", source_generation=1))
    assert len(site.waiting()) == 1
    site.handle(volume("v", event_id="again", generation=1))
    assert not site.waiting()
    assert key_of(site, Item("p1", Kind.SNAPSHOT, "t")) == key_of(site, V)


def test_what_waits_for_a_life_that_is_passed_by_is_told_so(site: Installation) -> None:
    site.handle(snapshot("t", "v", source_generation=1))
    site.handle(volume("v", event_id="later", generation=2))
    assert site.reasons() == {"event-snapshot-t": "source-unusable"}
    assert not site.waiting()


def test_what_waits_for_a_life_that_never_comes_is_missing_its_source() -> None:
    site = Installation(Limits(waiting_deadline_s=100))
    site.handle(volume("v"), snapshot("t", "v", source_generation=1))
    site.let_pass(1_000)
    site.process().run()
    assert site.reasons() == {"event-snapshot-t": "source-missing"}


def test_one_life_is_deleted_in_another_order_than_it_was_made(site: Installation) -> None:
    site.handle(release(V), snapshot("s", "v"))
    assert record(site, V)["data"] is None
    assert len(site.waiting()) == 1
    site.handle(volume("v"))
    assert record(site, V)["state"] == "released"
    assert key_of(site, S) == key_of(site, V)
    assert [what for what, item, _key in told(site) if item == "volume:v"] == [
        "released", "assigned", "released",
    ]  # fmt: skip
    assert told(site)[0] == ("released", "volume:v", None)


def test_another_creation_of_what_is_gone_is_a_conflict(site: Installation) -> None:
    site.handle(volume("v"), release(V))
    site.handle(volume("v", event_id="other"))
    assert site.reasons() == {"other": "conflict"}
    (letter,) = site.letters
    assert "was deleted" in letter.headers["x-kmworker-detail"]


# --- rings ----------------------------------------------------------------------------

PARTITION = Item("p1", Kind.PARTITION, "policy-0/18/4711")


def node(name: str) -> Item:
    return Item("p1", Kind.REPLICA, f"policy-0/18/4711@{name}")


def added(name: str, generation: int = 0) -> Sent:
    return replica(node(name).id, PARTITION, generation=generation, event_id=f"{name}{generation}")


def test_a_replica_that_leaves_a_node_and_comes_back_has_its_key_again(site: Installation) -> None:
    site.handle(added("a"), added("b"))
    key_id = key_of(site, PARTITION)
    site.handle(release(node("a")))
    site.handle(added("a", 2))
    assert {key_of(site, it) for it in (node("a"), node("b"), PARTITION)} == {key_id}
    assert not site.letters


@pytest.mark.parametrize("additions_first", [True, False])
def test_a_ring_that_is_rebalanced_keeps_its_partitions_key(
    site: Installation, additions_first: bool
) -> None:
    site.handle(*(added(name) for name in "abc"))
    key_id = key_of(site, PARTITION)
    additions = [added(name, 1) for name in "def"]
    removals = [release(node(name), 1) for name in "abc"]
    site.handle(*(additions + removals if additions_first else removals + additions))
    assert {key_of(site, node(name)) for name in "def"} == {key_id}
    assert record(site, PARTITION)["state"] == "active"
    site.handle(*(release(node(name), 2) for name in "def"))
    assert key_of(site, PARTITION) == key_id
    site.handle(added("g", 3))
    assert key_of(site, node("g")) == key_id
    assert not site.letters


# --- much, and trouble ----------------------------------------------------------------


def test_deletes_of_what_was_never_here_fill_nothing_and_hold_up_nobody() -> None:
    site = Installation(Limits(batch_max=64), reports=False)
    old = [release(Item("p1", Kind.VOLUME, f"old{number}")) for number in range(1_000)]
    site.handle(*old[:500], volume("v"), *old[500:])
    assert record(site, V)["state"] == "active"
    assert not site.waiting()
    assert not site.letters
    stats = site.redis.hgetall(site.names.of("p1", "stats"))
    assert (stats[b"early"], stats[b"released"]) == (b"1000", b"1000")
    assert site.redis.hlen(site.names.of("p1", "keys")) == 1


FAULTS = [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.CUT_BEFORE, Fault.CUT_AFTER]
STORIES = {
    "first lives": (
        [],
        [
            volume("v"), snapshot("s", "v"), release(V), partition_replica("r", "x"),
            release(W), volume("w"), release(S),
        ],
    ),
    "a partition that outlives its founder": (
        [], [partition_replica("r", "x"), release(R), release(Q), partition_replica("q", "y")],
    ),
    "the next": (
        [volume("v"), snapshot("s", "v"), release(V), release(W)],
        [
            volume("v", event_id="again", generation=1), release(W, 3),
            snapshot("t", "v", source_generation=1), release(V, 1), release(S),
            volume("w", event_id="third", generation=3),
        ],
    ),
    "one that nobody ended": (
        [volume("v"), snapshot("s", "v")],
        [volume("v", event_id="again", generation=1), snapshot("t", "v", source_generation=1)],
    ),
}  # fmt: skip


def outcome(site: Installation) -> dict[str, Any]:
    """What is left: items by their state, life and scope, how often key-ids are held, and DEKs."""
    raw = site.redis.hgetall(site.names.of("p1", "items"))
    items = {ref.decode(): json.loads(text) for ref, text in raw.items()}
    found = {
        ref: (it["state"], it.get("generation", 0), it["data"] and it["data"]["scope_id"])
        for ref, it in items.items()
    }
    held = site.redis.hgetall(site.names.of("p1", "holders")).values()
    return {"items": found, "holders": sorted({*held} - {b"0"}), "deks": deks(site)}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_step_leaves_the_same_and_leaves_out_nothing(
    story: str, fault: Fault
) -> None:
    before, events = STORIES[story]

    def begun() -> Installation:
        site = Installation(Limits(batch_max=4), reports=False)
        site.handle(*before)
        return site

    calm = begun()
    steps = len(calm.handle(*events).host.steps.taken)
    expected = outcome(calm)
    # The assignment of what is gone when its creation comes again is not announced, its release is.
    gone = {ref for ref, (state, *_) in expected["items"].items() if state == "released"}
    said = {("assigned", ref) for ref in expected["items"].keys() - gone}
    said |= {it[:2] for it in told(calm) if it[0] == "released"}
    assert said <= {it[:2] for it in told(calm)}
    assert steps > 20
    # Every other step, and with another fault the others.
    for number in range(FAULTS.index(fault) % 2, steps, 2):
        site = begun()
        site.publish(*events)
        process = site.process(faults={number: fault})
        try:
            process.run()
        except Crash:
            process.die()
        site.process().run()
        assert outcome(site) == expected, number
        assert {it[:2] for it in told(site)} >= said, number
        assert not site.letters
        bodies: dict[str, bytes] = {}
        for message in site.announcements:
            announced = json.loads(message.body)["id"]
            assert bodies.setdefault(announced, message.body) == message.body
