"""Who gets a key: every answer, and that who has no grant learns nothing from any of them."""

from dataclasses import replace

import pytest

from kmworker.delegation.clients import Right
from kmworker.domain.grants import NO_GRANTS
from kmworker.domain.model import KeyState, Kind
from kmworker.keyserver.decide import Deliver, NoGrantYet, decide_request
from kmworker.keyserver.ports import FoundKey
from kmworker.wire.answers.bodies import Asked
from kmworker.wire.answers.messages import Refusal
from tests.kit.builders import held, partition, released, replica, snapshot
from tests.unit.keyserver.world import CLIENT, MARK, NODE, RIGHTS, V, key_of, live, over

NOW_S = 1_795_449_600.0
LATER = NoGrantYet.NO_GRANT_YET


def asked(item: object = V, key_id: str | None = None) -> Asked:
    return Asked("id", "digest", "p1", item, key_id)  # type: ignore[arg-type]


def decided(
    found: FoundKey, item: object = V, client: object = CLIENT, key_id: str | None = None
) -> Deliver | Refusal | NoGrantYet:
    return decide_request(client, asked(item, key_id), found, NOW_S, 3600.0)  # type: ignore[arg-type]


def with_rights(**rights: object) -> object:
    return replace(CLIENT, rights=replace(RIGHTS, **rights))  # type: ignore[arg-type]


def test_a_granted_key_is_delivered_until_a_copy_is_too_old() -> None:
    answer = decided(key_of(held(V), live()))
    assert isinstance(answer, Deliver)
    assert (answer.state, answer.attachment) == (KeyState.ACTIVE, "a1")
    assert answer.not_after == "2026-11-23T17:00:00.000Z"


def test_a_grant_with_a_date_bounds_the_copy_and_one_that_is_past_is_none() -> None:
    soon = live(expires_at="2026-11-23T16:10:00.000Z")
    answer = decided(key_of(held(V), soon))
    assert isinstance(answer, Deliver)
    assert answer.not_after == "2026-11-23T16:10:00.000Z"
    assert decided(key_of(held(V), live(expires_at="2026-11-23T16:00:00.000Z"))) is LATER


def test_of_two_grants_the_longer_one_counts() -> None:
    soon = live("a1", expires_at="2026-11-23T16:10:00.000Z")
    answer = decided(key_of(held(V), soon, live("a2")))
    assert isinstance(answer, Deliver)
    assert answer.attachment == "a2"


@pytest.mark.parametrize(
    "found",
    [
        key_of(None),
        key_of(held(V)),
        key_of(held(V, state=KeyState.SUSPENDED)),
        key_of(held(V, state=KeyState.COMPROMISED)),
        key_of(held(V, state=KeyState.DESTROYED)),
        key_of(held(V, encryption=None)),
        key_of(released(held(V))),
        key_of(held(V), over()),
        key_of(held(V), live(node="another")),
        key_of(held(V, generation=1), live()),
        FoundKey(None, None, None, None, NO_GRANTS, "its seal is broken"),
    ],
    ids=[
        "unknown", "not attached", "suspended", "compromised", "destroyed", "not encrypted", "gone",
        "detached", "attached elsewhere", "of a former life", "broken",
    ],
)  # fmt: skip
def test_without_a_grant_everything_looks_the_same(found: FoundKey) -> None:
    assert decided(found) is LATER


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (KeyState.SUSPENDED, Refusal.SUSPENDED),
        (KeyState.COMPROMISED, Refusal.COMPROMISED),
        (KeyState.DESTROYED, Refusal.DESTROYED),
    ],
)
def test_who_has_a_grant_is_told_what_the_key_s_state_is(state: KeyState, reason: Refusal) -> None:
    assert decided(key_of(held(V, state=state), live())) is reason


def test_a_key_that_is_deactivated_by_a_wrong_count_is_delivered() -> None:
    answer = decided(key_of(held(V, state=KeyState.DEACTIVATED), live()))
    assert isinstance(answer, Deliver)
    assert answer.state is KeyState.DEACTIVATED


def test_a_grant_ends_with_its_item() -> None:
    assert decided(key_of(released(held(V)), live())) is Refusal.NOT_GRANTED
    assert decided(key_of(held(V, encryption=None), live())) is Refusal.NOT_GRANTED
    # Attached before its creation was heard of.
    assert decided(key_of(None, live())) is LATER


def test_of_a_broken_record_who_has_a_grant_is_told_to_come_later() -> None:
    broken = replace(key_of(None, live()), flaw="its seal is broken")
    assert decided(broken) is Refusal.TRY_LATER
    # And who has none waits, as for anything else.
    assert decided(replace(broken, grants=NO_GRANTS)) is LATER


@pytest.mark.parametrize(
    "client",
    [
        with_rights(actions=frozenset({Right.LIST})),
        with_rights(kinds=frozenset({Kind.SNAPSHOT})),
        with_rights(projects=("p2", "q*")),
        replace(CLIENT, revoked=MARK),
    ],
    ids=["action", "kind", "project", "revoked"],
)
def test_without_the_right_nothing_is_waited_for(client: object) -> None:
    assert decided(key_of(held(V), live()), client=client) is Refusal.NOT_GRANTED


def test_a_replica_s_own_node_needs_no_attachment() -> None:
    item = replica("r1")
    found = held(item)
    here = replace(found, assignment=replace(found.assignment, node=NODE))
    assert isinstance(decided(key_of(here), item), Deliver)
    assert decided(key_of(found), item) is LATER


def test_who_needs_no_grant_gets_what_he_has_the_right_to() -> None:
    backup = with_rights(needs_grant=False, nodes=())
    for item in (V, snapshot("s1"), replica("r1"), partition()):
        assert isinstance(decided(key_of(held(item)), item, backup), Deliver)
    assert decided(key_of(None), V, backup) is LATER
    assert decided(key_of(released(held(V))), V, backup) is Refusal.NOT_GRANTED


def test_by_its_key_id_a_key_is_delivered_to_who_needs_no_grant_of_anything() -> None:
    of_v = held(V)
    found = FoundKey(None, of_v.key, of_v.scope, b"wrapped", NO_GRANTS)
    everything = with_rights(needs_grant=False)
    assert isinstance(decided(found, None, everything, "key-v1"), Deliver)
    assert decided(found, None, CLIENT, "key-v1") is Refusal.NOT_GRANTED
    volumes = with_rights(needs_grant=False, kinds=frozenset({Kind.VOLUME}))
    assert decided(found, None, volumes, "key-v1") is Refusal.NOT_GRANTED
    nothing = FoundKey(None, None, None, None, NO_GRANTS)
    assert decided(nothing, None, everything, "key-v1") is Refusal.NOT_GRANTED
