"""What has to be looked up for a batch, and what it is planned over where nothing is."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from kmworker.domain.event import Event, RequestedEncryption
from kmworker.domain.look_up import NOTHING, Presumed, items_to_look_up, presume
from kmworker.domain.model import Held, Item, Released
from kmworker.domain.plan import Arrival, AssignWrite, Entry, Later, Repeat
from kmworker.domain.planner import plan_batch
from tests.kit.builders import (
    SHIPPED,
    arrived,
    delivery_of,
    event_of,
    fresh,
    held,
    image,
    partition,
    replica,
    snapshot,
    volume,
)
from tests.unit.domain.plans import events, outcomes

V1, S1, ELSEWHERE = volume(), snapshot(), volume("v1", "p2")
BLANK, DERIVED = event_of(V1), event_of(S1, V1)


def recalling(*items: Item) -> "Recall":
    return Recall({item: held(item) for item in items})


class Recall:
    """A store's memory."""

    def __init__(self, kept: dict[Item, Held]) -> None:
        self.kept = kept
        self.asked: set[Item] = set()

    def __call__(self, items: Iterable[Item]) -> dict[Item, Held | Released]:
        self.asked = set(items)
        return {item: self.kept[item] for item in self.asked if item in self.kept}


def test_what_is_looked_up_are_the_items_and_their_sources_but_images() -> None:
    wanted = items_to_look_up(
        [
            event_of(volume()),
            event_of(volume("v2"), image()),
            event_of(snapshot(), volume()),
            event_of(replica(), partition(project="p2")),
        ]
    )
    assert wanted == {volume(), volume("v2"), snapshot(), replica(), partition(project="p2")}


@pytest.mark.parametrize(
    ("batch", "kept", "new"),
    {
        "a blank volume": ([BLANK], [], {V1}),
        "from an image": ([event_of(V1, image())], [], {V1}),
        "from what was written lately": ([DERIVED], [V1], {S1}),
        "from what comes with it": ([BLANK, DERIVED], [], {V1, S1}),
        "from what comes after it": ([DERIVED, BLANK], [], {V1, S1}),
        "from what nothing is known of": ([DERIVED], [], set()),
        "from another project's, though that was written lately": (
            [event_of(S1, ELSEWHERE)], [ELSEWHERE], set(),
        ),
    }.values(),
)  # fmt: skip
def test_an_event_that_never_came_before_needs_no_look_up(
    batch: list[Event], kept: list[Item], new: set[Item]
) -> None:
    needing, presumed = presume(events(*batch), recalling(*kept))
    assert needing == [event for event in batch if event.item not in new]
    assert presumed.new == new
    assert presumed.recalled.keys() == {V1} & set(kept)


TRIED: dict[str, Arrival] = {
    "delivered before": replace(
        arrived(BLANK), delivery=replace(delivery_of(BLANK), delivery_count=1)
    ),
    "planned before": replace(arrived(BLANK), rounds=2),
    "failed before": replace(arrived(BLANK), attempts=2),
    "refused by a queue": replace(arrived(BLANK), refusals=1),
    "waited": replace(arrived(BLANK), delivery=None, entry=Entry(V1, "e", 1, expired=False)),
}


@pytest.mark.parametrize("arrival", TRIED.values(), ids=TRIED)
def test_one_that_may_have_been_tried_is_looked_up(arrival: Arrival) -> None:
    assert presume([arrival], recalling(V1)) == ([BLANK], NOTHING)


def test_an_item_that_is_looked_up_for_one_event_is_not_new_for_another() -> None:
    first, again = arrived(BLANK, 1), replace(arrived(BLANK, 2), rounds=2)
    needing, presumed = presume([first, again], recalling())
    assert needing == [BLANK]
    assert presumed == NOTHING


def test_only_sources_that_no_event_of_the_batch_names_are_recalled() -> None:
    recall = recalling()
    presume(events(BLANK, DERIVED, event_of(snapshot("s2"), volume("v2"))), recall)
    assert recall.asked == {volume("v2")}


# --- what is decided over it ------------------------------------------------------------


def planned(*batch: Event, new: Iterable[Item] = (), recalled: Iterable[Item] = ()) -> list[object]:
    presumed = Presumed(frozenset(new), {item: held(item) for item in recalled})
    return list(outcomes(plan_batch(events(*batch), {}, SHIPPED, fresh(), presumed)))


def test_a_write_names_the_recalled_source_that_it_rests_on() -> None:
    (write,) = planned(DERIVED, new=[S1], recalled=[V1])
    assert isinstance(write, AssignWrite)
    assert write.source == held(V1)


def test_what_is_not_written_is_decided_over_a_look_up() -> None:
    # Each may be a repeat of what is there: it has its key, whatever it would be told today.
    denied = event_of(V1, encryption=RequestedEncryption("none-such", 512))
    assert planned(denied, new=[V1]) == [Later()]
    assert planned(DERIVED, new=[S1]) == [Later()]


def test_a_look_up_outweighs_what_is_recalled() -> None:
    presumed = Presumed(frozenset(), {V1: held(V1)})
    plan = plan_batch(
        events(DERIVED), {S1: held(S1, source=V1), V1: None}, SHIPPED, fresh(), presumed
    )
    assert [type(it) for it in outcomes(plan)] == [Repeat]
