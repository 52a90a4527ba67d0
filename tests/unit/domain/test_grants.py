"""Attachments as grants: in any order, each is one grant, and what is over stays over."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from kmworker.domain.event import Granting
from kmworker.domain.grants import (
    MAX_LIVE,
    MAX_OVER,
    NO_GRANTS,
    Grants,
    GrantsSeen,
    Unchanged,
    Ungranted,
    granted,
)
from kmworker.domain.model import Broken
from kmworker.domain.plan import Committed, GrantWrite, Later, Nothing, Plan, WriteStatus
from kmworker.domain.planner import plan_batch
from kmworker.domain.resolve import resolve
from kmworker.errors import Reason
from tests.kit.builders import (
    NOW,
    SHIPPED,
    arrived,
    attach,
    detach,
    fresh,
    policy_of,
    release_of,
    rule_of,
    volume,
)
from tests.unit.domain.plans import outcomes

V = volume("v1")
LATER = "2027-02-01T00:00:00.000Z"
OWNED = SHIPPED.of_one_owner()

STORY = (attach(), attach(), detach(), detach(), attach("a2", "n2"))


def after(*events: Granting, grants: Grants = NO_GRANTS, now: str = NOW) -> Grants:
    for event in events:
        found = granted(grants, event, now, 30.0)
        assert not isinstance(found, Ungranted)
        grants = found if isinstance(found, Grants) else grants
    return grants


def live(grants: Grants) -> dict[str, str]:
    return {it.id: it.grant.node for it in grants.live if it.grant is not None}


def test_an_attachment_is_a_grant_until_it_is_detached() -> None:
    assert live(after(attach())) == {"a1": "n1"}
    assert live(after(attach(), detach())) == {}


def test_two_attachments_are_two_grants_on_one_node_or_on_two() -> None:
    migrating = after(attach("a1", "n1"), attach("a2", "n2"))
    assert live(migrating) == {"a1": "n1", "a2": "n2"}
    assert live(after(detach("a1"), grants=migrating)) == {"a2": "n2"}
    assert live(after(attach("a1"), attach("a2"), detach("a1"))) == {"a2": "n1"}


@pytest.mark.parametrize("order", sorted(permutations(STORY), key=str), ids=str)
def test_in_any_order_and_number_the_same_is_left(order: tuple[Granting, ...]) -> None:
    assert live(after(*order)) == {"a2": "n2"}


def test_a_late_attachment_revives_nothing() -> None:
    over = after(attach(), detach())
    assert granted(over, attach(), NOW, 30.0) == Unchanged()
    assert granted(over, attach(event_id="another"), NOW, 30.0) == Unchanged()
    early = after(detach())
    assert granted(early, attach(), NOW, 30.0) == Unchanged()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"node": "n2"}, "attachment a1 has node n1, not n2"),
        ({"mode": "ro"}, "attachment a1 has mode none, not ro"),
        ({"expires_at": LATER}, f"attachment a1 has expires_at none, not {LATER}"),
        ({"generation": 1}, "attachment a1 has generation 0, not 1"),
    ],
)
def test_another_event_that_says_otherwise_is_a_conflict(other: dict[str, Any], said: str) -> None:
    before = after(attach())
    answer = granted(before, attach(event_id="another", **other), NOW, 30.0)
    assert answer == Ungranted(Reason.CONFLICT, said)
    assert granted(before, attach(event_id="another"), NOW, 30.0) == Unchanged()
    # The very same event never contradicts itself.
    assert granted(before, attach(**other), NOW, 30.0) == Unchanged()


def test_what_is_over_is_forgotten_after_its_time_and_what_is_live_never() -> None:
    before = after(attach("a1"), attach("a2"), detach("a2"))
    kept = after(attach("a3"), grants=before, now="2026-12-23T16:00:00.000Z")
    assert [it.id for it in kept.attachments] == ["a1", "a2", "a3"]
    left = after(attach("a3"), grants=before, now="2026-12-23T16:00:00.001Z")
    assert [it.id for it in left.attachments] == ["a1", "a3"]


def test_there_are_bounds_and_at_them_a_detachment_still_ends_its_grant() -> None:
    full = after(*(attach(f"a{number}") for number in range(MAX_LIVE)))
    answer = granted(full, attach("one-more"), NOW, 30.0)
    assert isinstance(answer, Ungranted)
    assert (answer.reason, "1,000 attachments" in answer.detail) == (Reason.NO_ROOM, True)
    over = after(
        *(detach(f"x{number:04}") for number in range(MAX_OVER)), detach("a7"), grants=full
    )
    assert "a7" not in live(over)
    assert len(over.attachments) == MAX_LIVE - 1 + MAX_OVER


# --- in a batch -------------------------------------------------------------------------


def planned(*events: Granting, seen: GrantsSeen | Broken | None = None, by: str = "") -> Plan:
    arrivals = [arrived(event, tag) for tag, event in enumerate(events, 1)]
    policy = OWNED
    if by:
        lines = f'[[producer]]\nuser = "{by}"\nprojects = "p1"\ntypes = "volume-*"\n'
        policy = policy_of(rule_of() + lines)
        for arrival in arrivals:
            arrival.original.properties["user_id"] = by  # type: ignore[index]
    return plan_batch(arrivals, {}, policy, fresh(), grants={V: seen})


def test_all_that_a_batch_says_of_an_item_is_one_write() -> None:
    plan = planned(attach("a1"), attach("a2", "n2"), detach("a1"), attach("a1"))
    (write,) = plan.writes
    assert isinstance(write, GrantWrite)
    assert (write.before, live(write.after)) == (None, {"a2": "n2"})
    assert outcomes(plan) == [write] * 4


def test_a_repeat_of_what_is_stored_writes_nothing() -> None:
    seen = GrantsSeen(after(attach()), b"record")
    plan = planned(attach(), seen=seen)
    assert (plan.writes, outcomes(plan)) == ([], [Nothing()])


def test_a_conflict_with_what_is_not_written_yet_is_decided_again() -> None:
    plan = planned(attach("a1"), attach("a1", "n2", event_id="another"))
    assert Later() in outcomes(plan)


def test_a_broken_record_grants_nothing() -> None:
    (outcome,) = outcomes(planned(attach(), seen=Broken("its seal is broken")))
    assert getattr(outcome, "reason", None) is Reason.INTEGRITY


@pytest.mark.parametrize("event", [attach(), detach()], ids=["attach", "detach"])
def test_where_no_producer_is_listed_nobody_may_say_who_gets_a_key(event: Granting) -> None:
    plan = plan_batch([arrived(event)], {}, SHIPPED, fresh())
    (outcome,) = outcomes(plan)
    assert getattr(outcome, "reason", None) is Reason.NOT_ALLOWED
    assert "[[producer]]" in str(outcome)


def test_a_listed_producer_may_within_its_reach() -> None:
    (outcome,) = outcomes(planned(attach(), by="nova"))
    assert isinstance(outcome, GrantWrite)
    foreign = replace(attach(), item=volume("v1", "p2"))
    (outcome,) = outcomes(planned(foreign, by="nova"))
    assert getattr(outcome, "reason", None) is Reason.NOT_ALLOWED


@pytest.mark.parametrize(
    ("status", "settled", "carried"),
    [(WriteStatus.WRITTEN, 1, 0), (WriteStatus.STALE, 0, 1)],
    ids=["written", "stale"],
)
def test_what_another_worker_has_changed_meanwhile_is_decided_again(
    status: WriteStatus, settled: int, carried: int
) -> None:
    plan = planned(attach())
    done, left = resolve(plan, [Committed(status)], {}, [])
    assert (len(done.deliveries), len(left.carried)) == (settled, carried)


@pytest.mark.parametrize(
    ("status", "told"),
    [(WriteStatus.WRITTEN, ["a1"]), (WriteStatus.STALE, [])],
    ids=["written", "stale"],
)
def test_key_servers_are_told_of_what_ends_once_it_is_written(
    status: WriteStatus, told: list[str]
) -> None:
    done, _left = resolve(planned(detach()), [Committed(status)], {}, [])
    assert [it.attachment for it in done.ended] == told
    begun, _left = resolve(planned(attach()), [Committed(status)], {}, [])
    assert begun.ended == []


def test_whoever_says_once_more_that_it_is_over_has_key_servers_told_once_more() -> None:
    """The worker that wrote it may have died before it told them."""
    before = GrantsSeen(after(attach(), detach()), b"record")
    plan = plan_batch([arrived(detach(), 1)], {}, OWNED, fresh(), grants={V: before})
    assert plan.writes == []
    done, _left = resolve(plan, [], {}, [])
    assert [it.attachment for it in done.ended] == ["a1"]
    late = plan_batch([arrived(attach(), 1)], {}, OWNED, fresh(), grants={V: before})
    assert resolve(late, [], {}, [])[0].ended == []


def test_a_release_beside_it_is_another_matter() -> None:
    arrivals = [arrived(release_of(V), 1), arrived(attach(), 2)]
    plan = plan_batch(arrivals, {V: None}, OWNED, fresh(), grants={V: None})
    assert [type(write).__name__ for write in plan.writes] == ["ReleaseWrite", "GrantWrite"]
