"""Who may say what: by the user that the broker vouches for, and by nothing else."""

from typing import Any

import pytest

from kmworker.domain.decision import Already, Refuse, Wait, decide
from kmworker.domain.event import UNENCRYPTED, Event
from kmworker.domain.message import LEFT_OFF
from kmworker.domain.model import Item, Kind, State
from kmworker.domain.plan import AssignWrite, ParkWrite, Repeat, entry_name
from kmworker.domain.planner import plan_batch
from kmworker.domain.policy import Policy
from kmworker.errors import Reason
from tests.kit.builders import (
    SHIPPED_POLICY,
    arrived,
    event_of,
    fresh,
    held,
    image,
    original_of,
    partition,
    policy_of,
    replica,
    snapshot,
    volume,
)

PRODUCERS = """
[[producer]]
user = "cinder"
projects = ["p1", "lab-*"]
types = ["volume-created", "snapshot-taken"]

[[producer]]
user = "swift"
projects = "swift-*"
types = "replica-added"

[[producer]]
user = "operator"
replay = true
"""
POLICY = policy_of(SHIPPED_POLICY.read_text("utf-8") + PRODUCERS, ciphers="", defaults="")


def by(user: str | None, headers: dict[Any, Any] | None = None) -> dict[str, Any]:
    """The properties of a message."""
    properties: dict[str, Any] = {} if user is None else {"user_id": user}
    return properties if headers is None else {**properties, "application_headers": headers}


def by_operator_for(user: object) -> dict[str, Any]:
    return by("operator", {"x-kmworker-user": user})


def why_not(
    event: Event, properties: dict[str, Any], own: State = None, source: State = None
) -> str | None:
    """Why an event is not allowed; None if it is."""
    decision = decide(event, own, source, POLICY, properties)
    if isinstance(decision, Refuse) and decision.reason is Reason.NOT_ALLOWED:
        return decision.detail
    return None


V1 = event_of(volume())
PARTITION = partition("policy-0/18/4711", "swift-eu1")
SWIFT_REPLICA = event_of(replica("policy-0/18/4711@obj-1", "swift-eu1"), PARTITION)

REFUSED = {
    "no user": (V1, by(None), "the message has no property user_id"),
    "an empty user": (V1, by(""), "the message has no property user_id"),
    "a user that is no text": (V1, {"user_id": 7}, "the message has no property user_id"),
    "a header alone": (
        V1, by(None, {"x-kmworker-user": "cinder"}), "the message has no property user_id",
    ),
    "a user that is not listed": (V1, by("mallory"), "user mallory is no producer in the policy"),
    "another case": (V1, by("Cinder"), "user Cinder is no producer in the policy"),
    "another type": (
        event_of(replica(), volume()), by("cinder"),
        "producer cinder may not publish replica-added",
    ),
    "another project": (
        event_of(volume(project="p2")), by("cinder"),
        "producer cinder may not speak for project p2",
    ),
    "a project that only begins like one": (
        event_of(volume(project="p11")), by("cinder"),
        "producer cinder may not speak for project p11",
    ),
    "a source of another project": (
        event_of(volume("v2"), snapshot(project="p2")), by("cinder"),
        "producer cinder may not name a source of project p2",
    ),
    "an image of another project": (
        event_of(volume("v2"), image(project="p2")), by("cinder"),
        "producer cinder may not name a source of project p2",
    ),
    "a partition of another cluster, as unencrypted": (
        event_of(SWIFT_REPLICA.item, PARTITION, encryption=UNENCRYPTED), by("cinder"),
        "producer cinder may not publish replica-added",
    ),
    "a forged header": (
        V1, by("mallory", {"x-kmworker-user": "cinder"}),
        "user mallory is no producer in the policy",
    ),
    "a header of a producer that may not replay": (
        event_of(volume(project="p2")), by("cinder", {"x-kmworker-user": "swift"}),
        "producer cinder may not speak for project p2",
    ),
    "an operator's own word beyond its reach": (
        V1, by("operator"), "producer operator may not publish volume-created",
    ),
    "a replay of what came without a user": (
        V1, by_operator_for(""), "it is replayed, and was sent without the property user_id",
    ),
    "a replay whose header is no text": (
        V1, by_operator_for(b"cinder"), "it is replayed, and was sent without",
    ),
    "a replay whose header may have been left off": (
        V1, by("operator", {LEFT_OFF: "x-kmworker-user"}), "it is replayed, and was sent without",
    ),
    "a replay beyond the first sender's reach": (
        V1, by_operator_for("swift"), "producer swift may not publish volume-created",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("event", "properties", "why"), REFUSED.values(), ids=REFUSED)
def test_it_is_not_allowed_with(event: Event, properties: dict[str, Any], why: str) -> None:
    detail = why_not(event, properties)
    assert detail is not None
    assert why in detail


HEARD = {
    "its own project": (V1, by("cinder")),
    "a project by glob": (event_of(volume(project="lab-7")), by("cinder")),
    "a source in reach": (event_of(volume("v2"), snapshot(project="lab-7")), by("cinder")),
    "a header that does not count": (V1, by("cinder", {"x-kmworker-user": "mallory"})),
    "a swift cluster": (SWIFT_REPLICA, by("swift")),
    "a replay": (V1, by_operator_for("cinder")),
}


@pytest.mark.parametrize(("event", "properties"), HEARD.values(), ids=HEARD)
def test_it_is_heard_with(event: Event, properties: dict[str, Any]) -> None:
    assert why_not(event, properties) is None


def test_without_producers_nobody_is_asked_for() -> None:
    rest = policy_of(SHIPPED_POLICY.read_text("utf-8"), ciphers="", defaults="")
    assert rest.producers is None
    assert not isinstance(decide(V1, None, None, rest), Refuse)


def test_an_item_that_is_assigned_already_is_answered_before() -> None:
    again = event_of(volume(), event_id="another")
    assert isinstance(decide(again, held(volume()), None, POLICY, by("mallory")), Already)


def test_who_may_not_say_it_takes_up_no_room_to_wait() -> None:
    event = event_of(snapshot(), volume())
    assert isinstance(decide(event, None, None, POLICY, by("cinder")), Wait)
    assert why_not(event, by("mallory")) is not None


# --- in a batch -------------------------------------------------------------------


def outcomes(policy: Policy, *told: tuple[Event, dict[str, Any]]) -> list[object]:
    arrivals = []
    for tag, (event, properties) in enumerate(told, start=1):
        plain = arrived(event, tag)
        arrival = type(plain)(
            event, type(plain.original)(plain.original.body, event.cause.type, properties),
            plain.delivery,
        )  # fmt: skip
        arrivals.append(arrival)
    known: dict[Item, State] = {}
    return [outcome for _, outcome in plan_batch(arrivals, known, policy, fresh()).outcomes]


def test_a_partition_is_founded_by_its_own_producer_alone() -> None:
    (refused,) = outcomes(POLICY, (SWIFT_REPLICA, by("cinder")))
    assert isinstance(refused, Refuse)
    assert refused.reason is Reason.NOT_ALLOWED
    (founded,) = outcomes(POLICY, (SWIFT_REPLICA, by("swift")))
    assert isinstance(founded, AssignWrite)


def test_of_two_in_a_batch_the_one_that_may_not_say_it_decides_nothing() -> None:
    claimed = event_of(volume(), event_id="claim", encryption=UNENCRYPTED)
    refused, assigned = outcomes(POLICY, (claimed, by("mallory")), (V1, by("cinder")))
    assert isinstance(refused, Refuse)
    assert isinstance(assigned, AssignWrite)
    assert assigned.assignment.encryption is not None
    assert not isinstance(assigned, Repeat)


def test_a_waiting_event_keeps_its_user() -> None:
    (parked,) = outcomes(POLICY, (event_of(snapshot(), volume()), by("cinder")))
    assert isinstance(parked, ParkWrite)
    assert parked.original.properties["user_id"] == "cinder"


def test_two_users_that_say_the_same_wait_apart() -> None:
    event = event_of(snapshot(), volume())
    plain = original_of(event)
    names = {
        entry_name(event, type(plain)(plain.body, plain.routing_key, properties))
        for properties in (
            by(None), by("cinder"), by("swift"), by_operator_for("cinder"), by_operator_for(""),
        )
    }  # fmt: skip
    assert len(names) == 5
    assert event.item.kind is Kind.SNAPSHOT


# --- whose event it is ------------------------------------------------------------


def test_a_replayed_event_that_fails_again_is_still_its_first_senders() -> None:
    assert POLICY.user_of(by_operator_for("cinder")) == "cinder"
    assert POLICY.user_of(by_operator_for("")) is None
    assert POLICY.user_of(by("mallory", {"x-kmworker-user": "cinder"})) == "mallory"
    assert policy_of(SHIPPED_POLICY.read_text("utf-8"), ciphers="", defaults="").user_of(
        by_operator_for("cinder")
    ) == "operator"  # fmt: skip
