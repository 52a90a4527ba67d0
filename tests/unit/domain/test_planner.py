"""Folding a batch over what is known: order, sharing, waiting, founding; nothing written."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.decision import Refuse
from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption
from kmworker.domain.model import (
    Assignment,
    Broken,
    DataAction,
    Disposition,
    Item,
    KeyRecord,
    KeyState,
    ScopeRecord,
    State,
    Transport,
    scope_id_for,
)
from kmworker.domain.plan import (
    Arrival,
    AssignWrite,
    Later,
    Outcome,
    ParkWrite,
    Repeat,
    StillWaiting,
    entry_name,
)
from kmworker.errors import Reason
from tests.kit.builders import (
    NOW,
    XTS,
    XTS_256,
    arrived,
    event_of,
    held,
    original_of,
    partition,
    policy_of,
    replica,
    snapshot,
    volume,
    waited,
)
from tests.unit.domain.plans import (
    assigned,
    assignments,
    events,
    folded,
    outcomes,
    parked,
    write_of,
)

CREATE, CLONE, REUSE = Disposition.CREATE, Disposition.CLONE, Disposition.REUSE
NO_SNAPSHOTS = policy_of(
    '[[rule]]\nname = "no-snapshots"\nevent = "snapshot-taken"\nthen = "deny"\n'
    '[[rule]]\nname = "rest"\nthen = "create"\n'
)
# --- one event --------------------------------------------------------------------


def test_a_blank_volume_gets_a_new_scope_key_and_record() -> None:
    plan = folded(arrived(event_of(volume())))
    scope_id = scope_id_for(volume())
    assert plan.writes == [
        AssignWrite(
            assignment=Assignment(
                item=volume(),
                disposition=CREATE,
                key_id="id-2",
                scope_id=scope_id,
                source=None,
                node=None,
                encryption=XTS,
                data_action=DataAction.NONE,
                reencrypt_from=None,
                rule="blank-volumes-get-a-key",
                cause=event_of(volume()).cause,
                assigned_at=NOW,
            ),
            key=KeyRecord("id-2", scope_id, "id-1", KeyState.ACTIVE, None, NOW),
            scope=ScopeRecord(scope_id, "volume:v1", "id-1", XTS, "kek-1", None, NOW),
            source=None,
        )
    ]
    assert outcomes(plan) == plan.writes


def test_a_clone_gets_a_fresh_key_in_its_sources_scope() -> None:
    source = held(snapshot())
    plan = folded(arrived(event_of(volume("v2"), snapshot())), known={snapshot(): source})
    write = write_of(plan, volume("v2"))
    assert source.scope is not None
    assert write.scope is None
    scope_id, dek_id = source.scope.scope_id, source.scope.dek_id
    assert write.key == KeyRecord("id-1", scope_id, dek_id, KeyState.ACTIVE, "key-s1", NOW)
    assert write.source is source
    assert write.assignment.key_id == "id-1"
    assert write.assignment.scope_id == source.scope.scope_id
    assert write.assignment.encryption == XTS


def test_a_reuse_adds_a_record_and_nothing_else() -> None:
    source = held(volume(), encryption=XTS_256)
    plan = folded(arrived(event_of(snapshot(), volume())), known={volume(): source})
    write = write_of(plan, snapshot())
    assert (write.key, write.scope, write.source) == (None, None, source)
    assert write.assignment.disposition is REUSE
    assert (write.assignment.key_id, write.assignment.scope_id) == (
        "key-v1",
        scope_id_for(volume()),
    )
    assert write.assignment.encryption == XTS_256


def test_a_create_from_a_source_says_what_to_reencrypt_from() -> None:
    source = held(volume())
    event = replace(event_of(replica(), volume()), transport=Transport.REENCRYPT)
    write = write_of(folded(arrived(event), known={volume(): source}), replica())
    assert write.assignment.data_action is DataAction.REENCRYPT
    assert write.assignment.reencrypt_from == "key-v1"
    assert write.assignment.node == "node-1"
    assert write.scope is not None
    assert write.scope.derived_from == scope_id_for(volume())
    assert write.key is not None
    assert write.key.cloned_from is None


def test_an_unencrypted_item_gets_a_record_without_key_and_scope() -> None:
    event = event_of(volume(), encryption=UNENCRYPTED)
    write = write_of(folded(arrived(event)), volume())
    assert (write.key, write.scope) == (None, None)
    assignment = write.assignment
    assert assignment.disposition is Disposition.NONE
    assert (assignment.key_id, assignment.scope_id, assignment.encryption) == (None, None, None)


DERIVED = event_of(snapshot(), volume())
ANOTHER = event_of(snapshot(), volume(), event_id="another")
OWN = held(snapshot(), volume())
ELSEWHERE = held(snapshot(), volume("v9"))
TOO_LATE = Refuse(Reason.SOURCE_MISSING, "volume:v1 did not appear in time")
CONFLICT = Refuse(
    Reason.CONFLICT,
    "snapshot:s1 is assigned already, from volume:v9; this event says: from volume:v1",
)
BROKEN = Broken("volume:v1 does not verify")
NOTHING_WRITTEN: dict[str, tuple[Arrival, dict[Item, State], Outcome]] = {
    "an assigned item": (arrived(DERIVED), {snapshot(): OWN}, Repeat(OWN)),
    "a conflict": (arrived(ANOTHER), {snapshot(): ELSEWHERE}, CONFLICT),
    "broken records": (
        arrived(DERIVED), {volume(): BROKEN}, Refuse(Reason.INTEGRITY, "volume:v1 does not verify"),
    ),
    "its source is still absent": (waited(DERIVED), {}, StillWaiting()),
    "it waited too long": (waited(DERIVED, expired=True), {}, TOO_LATE),
    "it waited too long, and its source is there now": (
        waited(DERIVED, expired=True), {volume(): held(volume())}, TOO_LATE,
    ),
    "assigned while it waited": (waited(DERIVED), {snapshot(): OWN}, Repeat(OWN)),
    "assigned while it waited too long": (
        waited(DERIVED, expired=True), {snapshot(): OWN}, Repeat(OWN),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("arrival", "known", "outcome"), NOTHING_WRITTEN.values(), ids=NOTHING_WRITTEN
)
def test_nothing_is_written_for(
    arrival: Arrival, known: dict[Item, State], outcome: Outcome
) -> None:
    plan = folded(arrival, known=known)
    assert plan.writes == []
    assert outcomes(plan) == [outcome]


def test_an_event_without_its_source_is_parked_in_the_sources_room() -> None:
    event = event_of(snapshot(), volume())
    plan = folded(arrived(event))
    name = entry_name(event, original_of(event))
    assert plan.writes == [ParkWrite(volume(), snapshot(), name, original_of(event))]
    assert outcomes(plan) == plan.writes


# --- one event after another ------------------------------------------------------


def test_a_snapshot_shares_the_key_of_a_volume_in_the_same_batch() -> None:
    plan = folded(*events(event_of(volume()), event_of(snapshot(), volume())))
    made, shared = write_of(plan, volume()), write_of(plan, snapshot())
    assert plan.writes == [made, shared]
    assert shared.assignment.key_id == made.assignment.key_id
    assert shared.assignment.scope_id == made.assignment.scope_id
    # What rests on the batch says so to the store.
    assert shared.source is not None
    assert (shared.source.key, shared.source.scope) == (made.key, made.scope)
    assert shared.source.assignment == made.assignment


CHAIN = [
    event_of(volume("a")),
    event_of(snapshot("b"), volume("a")),
    event_of(volume("c"), snapshot("b")),
    event_of(replica("d"), volume("c")),
    event_of(volume("e"), replica("d")),
]
CHAIN_ASSIGNED = [
    ("a", "create"),
    ("b", "reuse"),
    ("c", "clone"),
    ("d", "reuse"),
    ("e", "clone"),
]


@given(st.permutations(CHAIN))
def test_a_chain_in_any_order_is_written_in_its_own(chain: list[Event]) -> None:
    plan = folded(*events(*chain))
    assert assigned(plan) == CHAIN_ASSIGNED
    assert parked(plan) == []
    assert len({write.assignment.scope_id for write in assignments(plan.writes)}) == 1


def test_those_that_overtook_an_item_follow_it_in_the_order_they_came() -> None:
    early = [event_of(snapshot(name), volume()) for name in ("s1", "s2", "s3")]
    plan = folded(*events(*early, event_of(volume()), event_of(volume("v2"))))
    assert [name for name, _how in assigned(plan)] == ["v1", "s1", "s2", "s3", "v2"]


def test_a_chain_whose_root_is_missing_waits_link_by_link() -> None:
    plan = folded(*events(*reversed(CHAIN[1:])))
    assert assigned(plan) == []
    assert {(w.source.id, w.item.id) for w in plan.writes if isinstance(w, ParkWrite)} == {
        ("a", "b"),
        ("b", "c"),
        ("c", "d"),
        ("d", "e"),
    }


def test_what_waits_for_a_refused_item_is_parked() -> None:
    # The size is not allowed, so the volume never comes; another event may bring it yet.
    bad = event_of(volume(), encryption=RequestedEncryption("aes-xts-plain64", 128))
    plan = folded(*events(event_of(snapshot(), volume()), bad, event_of(snapshot("s2"), volume())))
    assert assigned(plan) == []
    assert sorted(parked(plan)) == ["s1", "s2"]
    assert [type(outcome) for outcome in outcomes(plan)] == [Refuse, ParkWrite, ParkWrite]


# --- the same item twice ----------------------------------------------------------


def test_a_duplicate_in_the_batch_shares_the_write() -> None:
    one, two = event_of(volume(), event_id="one"), event_of(volume(), event_id="two")
    plan = folded(*events(one, two))
    (write,) = plan.writes
    assert outcomes(plan) == [write, write]
    assert outcomes(plan)[0] is outcomes(plan)[1]
    assert write_of(plan, volume()).assignment.cause.id == "one"


def test_duplicates_that_wait_are_parked_under_one_name() -> None:
    event = event_of(snapshot(), volume())
    plan = folded(*events(event, event))
    one, two = plan.writes
    assert isinstance(one, ParkWrite)
    assert one == two


def again(item: Item, source: Item | None = None, **said: Any) -> Event:
    """Another event of an item, which says this of it."""
    return replace(event_of(item, source, event_id="another"), **said)


S1, S2 = snapshot("s1"), snapshot("s2")
OTHERWISE = {
    "now derived": (event_of(volume()), again(volume(), S1)),
    "from another source": (event_of(volume(), S1), again(volume(), S2)),
    "null": (event_of(volume()), again(volume(), encryption=UNENCRYPTED)),
    "another size": (
        event_of(volume()), again(volume(), encryption=RequestedEncryption(XTS.cipher, 256)),
    ),
    "another node": (
        event_of(replica(), partition()), again(replica(), partition(), node="node-2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("first", "other"), OTHERWISE.values(), ids=OTHERWISE)
def test_what_contradicts_another_event_of_the_batch_is_decided_later(
    first: Event, other: Event
) -> None:
    plan = folded(*events(first, other), known={S1: held(S1)})
    assert outcomes(plan) == [write_of(plan, first.item), Later()]


def test_the_very_same_event_shares_its_write_whatever_it_says() -> None:
    first = event_of(volume())
    garbled = replace(first, derived_from=snapshot(), encryption=UNENCRYPTED)
    plan = folded(*events(first, garbled))
    assert outcomes(plan) == [write_of(plan, volume())] * 2


def test_a_refusal_that_rests_on_the_batch_is_decided_later() -> None:
    plan = folded(*events(event_of(volume()), event_of(snapshot(), volume())), policy=NO_SNAPSHOTS)
    assert assigned(plan) == [("v1", "create")]
    assert outcomes(plan) == [write_of(plan, volume()), Later()]


def test_a_refusal_that_rests_on_what_is_stored_is_decided_at_once() -> None:
    known: dict[Item, State] = {volume(): held(volume())}
    plan = folded(arrived(event_of(snapshot(), volume())), known=known, policy=NO_SNAPSHOTS)
    detail = "rule no-snapshots denies it"
    assert outcomes(plan) == [Refuse(Reason.POLICY_DENIED, detail)]


# --- other projects ---------------------------------------------------------------


def test_a_source_in_another_project_is_never_taken_from_the_batch() -> None:
    there = volume(project="p2")
    plan = folded(*events(event_of(there), event_of(volume("v2"), there)))
    assert assigned(plan) == [("v1", "create")]
    assert parked(plan) == ["v2"]


def test_nor_is_an_event_held_back_for_it() -> None:
    there = volume(project="p2")
    plan = folded(*events(event_of(volume("v2"), there), event_of(there)))
    assert parked(plan) == ["v2"]
    assert [type(write) for write in plan.writes] == [ParkWrite, AssignWrite]


def test_a_source_in_another_project_leads_to_a_scope_of_its_own() -> None:
    there = volume(project="p2")
    source = held(there)
    plan = folded(arrived(event_of(volume("v2"), there)), known={there: source})
    write = write_of(plan, volume("v2"))
    assert write.assignment.disposition is CREATE
    assert write.assignment.rule == "guard:cross-project"
    assert write.assignment.reencrypt_from == "key-v1"
    assert write.assignment.scope_id == scope_id_for(volume("v2"))
    # It is in another slot, where this write's script cannot look.
    assert write.source is None


def test_items_of_one_name_in_two_projects_are_two_items() -> None:
    here, there = event_of(volume()), event_of(volume(project="p2"))
    plan = folded(*events(here, there))
    one, two = assignments(plan.writes)
    assert one.assignment.key_id != two.assignment.key_id
    assert one.assignment.scope_id != two.assignment.scope_id


# --- events that waited -----------------------------------------------------------


def test_a_waiting_event_whose_source_has_come_is_assigned() -> None:
    arrival = waited(event_of(snapshot(), volume()))
    plan = folded(arrival, known={volume(): held(volume())})
    assert assigned(plan) == [("s1", "reuse")]


def test_a_waiting_event_sees_its_source_in_the_same_batch() -> None:
    plan = folded(waited(event_of(snapshot(), volume())), arrived(event_of(volume())))
    assert assigned(plan) == [("v1", "create"), ("s1", "reuse")]


def test_equal_events_have_equal_entry_names() -> None:
    event = event_of(snapshot(), volume())
    again = replace(original_of(event), routing_key="other", properties={"message_id": "2"})
    assert entry_name(event, original_of(event)) == entry_name(event, again)
    # What is in stores already must be found under the same name.
    body = replace(original_of(event), body=b"{}")
    assert entry_name(event, body) == "9e7605174b30e87534018e223de0dfac"


def test_another_item_or_body_has_another_entry_name() -> None:
    event, other = event_of(snapshot(), volume()), event_of(snapshot("s2"), volume())
    original = original_of(event)
    names = {
        entry_name(event, original),
        entry_name(other, original),
        entry_name(event, replace(original, body=original.body + b" ")),
    }
    assert len(names) == 3
