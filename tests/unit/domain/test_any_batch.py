"""Whatever batch comes: one plan of it, on which store and broker can rely."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.event import UNENCRYPTED, RequestedEncryption
from kmworker.domain.model import Broken, Disposition, Item, Kind, State
from kmworker.domain.plan import Arrival, AssignWrite, ParkWrite, Plan, entry_name
from kmworker.domain.planner import plan_batch
from tests.kit.builders import (
    SHIPPED,
    XTS,
    arrived,
    event_of,
    fresh,
    held,
    partition,
    replica,
    snapshot,
    volume,
    waited,
)
from tests.unit.domain.plans import outcomes

CREATE, CLONE, REUSE = Disposition.CREATE, Disposition.CLONE, Disposition.REUSE

NAMES = ("a", "b")
ITEMS = [make(name) for make in (volume, snapshot) for name in NAMES] + [replica("a"), replica("b")]


def test_items_that_name_each_other_as_source_wait_for_each_other() -> None:
    one = arrived(event_of(volume("one"), volume("two")))
    two = arrived(event_of(volume("two"), volume("one")))
    plan = plan_batch([one, two], {}, SHIPPED, fresh())
    assert {write.name for write in plan.writes if isinstance(write, ParkWrite)} == {
        entry_name(it.event, it.original) for it in (one, two)
    }


PARENTS = [*ITEMS, partition("a"), volume("a", "p2"), None]


@st.composite
def arrivals(draw: st.DrawFn) -> Arrival:
    item = draw(st.sampled_from(ITEMS))
    parents = [parent for parent in PARENTS if _may_be_source(parent, item)]
    event = event_of(
        item,
        draw(st.sampled_from(parents)),
        event_id=draw(st.sampled_from(["1", "2"])),
        requested=draw(st.sampled_from([None, CREATE, CLONE, REUSE])),
        encryption=draw(st.sampled_from([None, UNENCRYPTED, RequestedEncryption("serpent", None)])),
    )
    if event.derived_from is None or draw(st.booleans()):
        return arrived(event)
    return waited(event, expired=draw(st.booleans()))


def _may_be_source(parent: Item | None, item: Item) -> bool:
    if parent is None:
        return item.kind is Kind.VOLUME
    if parent == item or (parent.kind is Kind.PARTITION) > (item.kind is Kind.REPLICA):
        return False
    return item.kind is not Kind.SNAPSHOT or parent.kind is Kind.VOLUME


@st.composite
def known_states(draw: st.DrawFn) -> dict[Item, State]:
    known: dict[Item, State] = {}
    for item in [*ITEMS, partition("a"), volume("a", "p2")]:
        form = draw(st.sampled_from(["absent", "absent", "keyed", "bare", "broken"]))
        if form == "broken":
            known[item] = Broken(f"{item.ref} does not verify")
        elif form != "absent":
            known[item] = held(item, encryption=XTS if form == "keyed" else None)
    return known


@given(st.lists(arrivals(), max_size=6), known_states())
def test_any_batch_gives_one_plan_that_keeps_what_store_and_broker_rely_on(
    batch: list[Arrival], known: dict[Item, State]
) -> None:
    before = (list(batch), dict(known))
    plan = plan_batch(batch, known, SHIPPED, fresh())
    assert plan == plan_batch(batch, known, SHIPPED, fresh())
    assert (batch, known) == before
    assert_store_and_broker_can_rely_on(plan, batch, known)


def assert_store_and_broker_can_rely_on(
    plan: Plan, batch: list[Arrival], known: dict[Item, State]
) -> None:
    # Each event is settled by one outcome, and each write is waited for by someone.
    assert len(plan.outcomes) == len(batch)
    assert all(any(arrival is one for one, _outcome in plan.outcomes) for arrival in batch)
    mentioned = {id(outcome) for outcome in outcomes(plan)}
    founders = set(plan.founded.values())
    written: set[Item] = set()
    for write in plan.writes:
        if isinstance(write, ParkWrite):
            assert known.get(write.source) is None
            assert id(write) in mentioned
            continue
        assert isinstance(write, AssignWrite)
        item = write.item
        assert id(write) in mentioned or item in founders
        # No item is written twice, none over a record, none before what it rests on.
        assert known.get(item) is None
        assert item not in written
        assert write.source is None or rests_on(write.source.assignment.item, known, written)
        written.add(item)


def rests_on(source: Item, known: Mapping[Item, State], written: set[Item]) -> bool:
    return known.get(source) is not None or source in written
