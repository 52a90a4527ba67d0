"""A partition is founded by its first replica, and only by that."""

from dataclasses import replace

import pytest

from kmworker.domain.decision import Refuse
from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption
from kmworker.domain.model import Broken, DataAction, Disposition, Item, State, Transport
from kmworker.domain.policy import Policy
from kmworker.errors import Reason
from tests.kit.builders import XTS_256, arrived, event_of, held, partition, policy_of, replica
from tests.unit.domain.plans import assigned, assignments, events, folded, outcomes, write_of

CREATE, CLONE, REUSE = Disposition.CREATE, Disposition.CLONE, Disposition.REUSE
NO_PARTITIONS = policy_of(
    '[[rule]]\nname = "no-partitions"\nevent = "replica-added"\nsource = "none"\nthen = "deny"\n'
    '[[rule]]\nname = "rest"\nthen = "create"\n'
)
NO_REPLICAS = policy_of(
    '[[rule]]\nname = "no-replicas"\nevent = "replica-added"\nsource = "partition"\nthen = "deny"\n'
    '[[rule]]\nname = "rest"\nthen = "create"\n'
)


def first_replica(name: str = "r1", requested: Disposition | None = None) -> Event:
    return event_of(replica(name), partition(), requested=requested, transport=Transport.FILE)


def test_the_first_replica_founds_its_partition_and_joins_it() -> None:
    plan = folded(arrived(first_replica()))
    assert assigned(plan) == [("4711", "create"), ("r1", "reuse")]
    assert plan.founded == {replica(): partition()}
    founder, joined = write_of(plan, partition()), write_of(plan, replica())
    assert joined.assignment.key_id == founder.assignment.key_id
    assert joined.source is not None
    assert joined.source.scope == founder.scope
    # The partition's share of the plan is not an event's: it is announced with the replica.
    assert outcomes(plan) == [joined]


def test_a_partition_is_caused_by_its_first_replica_and_held_by_no_node() -> None:
    founder = write_of(folded(arrived(first_replica())), partition()).assignment
    assert founder.cause == first_replica().cause
    assert (founder.source, founder.node, founder.rule) == (None, None, "partitions-get-a-key")
    assert founder.data_action is DataAction.NONE


def test_of_two_first_replicas_at_once_one_founds_and_both_join() -> None:
    plan = folded(*events(first_replica("r1"), first_replica("r2")))
    assert assigned(plan) == [("4711", "create"), ("r1", "reuse"), ("r2", "reuse")]
    assert plan.founded == {replica("r1"): partition()}
    assert len({write.assignment.key_id for write in assignments(plan.writes)}) == 1


def test_a_first_replica_delivered_twice_founds_once() -> None:
    plan = folded(*events(first_replica(), first_replica()))
    assert assigned(plan) == [("4711", "create"), ("r1", "reuse")]
    assert outcomes(plan) == [write_of(plan, replica())] * 2


def test_a_first_replicas_requested_disposition_is_not_its_partitions() -> None:
    plan = folded(arrived(first_replica(requested=CLONE)))
    assert assigned(plan) == [("4711", "create"), ("r1", "clone")]


def test_a_first_replicas_encryption_is_its_partitions() -> None:
    event = replace(first_replica(), encryption=RequestedEncryption("aes-xts-plain64", 256))
    plan = folded(arrived(event))
    assert assigned(plan) == [("4711", "create"), ("r1", "reuse")]
    assert write_of(plan, replica()).assignment.encryption == XTS_256


def test_an_unencrypted_first_replica_founds_an_unencrypted_partition() -> None:
    plan = folded(arrived(replace(first_replica(), encryption=UNENCRYPTED)))
    assert assigned(plan) == [("4711", "none"), ("r1", "none")]


@pytest.mark.parametrize(
    ("policy", "rule"),
    [(NO_PARTITIONS, "no-partitions"), (NO_REPLICAS, "no-replicas")],
    ids=["the partition", "the replica"],
)
def test_where_the_policy_denies_either_nothing_is_founded(policy: Policy, rule: str) -> None:
    plan = folded(*events(first_replica("r1"), first_replica("r2")), policy=policy)
    assert plan.writes == []
    assert plan.founded == {}
    assert outcomes(plan) == [Refuse(Reason.POLICY_DENIED, f"rule {rule} denies it")] * 2


def test_a_replica_of_a_known_partition_founds_nothing() -> None:
    plan = folded(arrived(first_replica("r2")), known={partition(): held(partition())})
    assert assigned(plan) == [("r2", "reuse")]
    assert plan.founded == {}


def test_the_founder_is_announced_again_with_the_replica_that_founded_it() -> None:
    known: dict[Item, State] = {
        partition(): held(partition(), event_id="event-r1"),
        replica("r1"): held(replica("r1"), partition()),
        replica("r2"): held(replica("r2"), partition()),
    }
    plan = folded(*events(first_replica("r1"), first_replica("r2")), known=known)
    assert plan.writes == []
    assert plan.founded == {replica("r1"): partition()}


def test_a_broken_partition_is_not_founded_anew() -> None:
    known = {partition(): Broken("partition:4711 does not verify")}
    plan = folded(arrived(first_replica()), known=known)
    assert plan.writes == []
    assert outcomes(plan) == [Refuse(Reason.INTEGRITY, "partition:4711 does not verify")]
