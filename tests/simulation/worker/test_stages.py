"""The worker with everything at hand: batches, their order, and what comes of each event."""

from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from kmworker.domain.model import Item, Kind
from kmworker.worker.stages import Milestone
from tests.kit.simulator.checks import assert_all_assigned, assert_settled
from tests.kit.simulator.events import garbage, partition_replica, replica, snapshot, volume
from tests.kit.simulator.installation import Installation, Limits, Process
from tests.kit.simulator.manner import Manner
from tests.kit.simulator.wire import Confirm, ServerChannel

V = Item("p1", Kind.VOLUME, "v")
S = Item("p1", Kind.SNAPSHOT, "s")

WAITS = {f"store.{name}{what}" for name in ("look_up", "commit") for what in ("", " result")}
HISTORY = (
    volume("v"),
    snapshot("s", "v"),
    volume("clone", S),
    replica("copy", V, transport="block"),
    partition_replica("4711@obj-07", "4711"),
    partition_replica("4711@obj-08", "4711"),
    volume("w", project="p2"),
)


def test_what_has_been_delivered_goes_through_the_seven_steps_together(site: Installation) -> None:
    process = site.handle(*HISTORY)
    assert process.steps == list(Milestone)
    assert_all_assigned(site, *HISTORY)


def test_a_batch_is_never_larger_than_batch_max() -> None:
    site = Installation(Limits(batch_max=3))
    process = site.handle(*HISTORY)
    assert process.troubles.counts()["store.commit result"] == 3
    assert_all_assigned(site, *HISTORY)


def test_one_event_alone_is_handled_at_once(site: Installation, process: Process) -> None:
    process.turn()
    site.publish(volume("v"))
    # Once to begin, once to see that there is nothing to do meanwhile, once for the confirm.
    process.turn(3)
    assert_all_assigned(site, volume("v"))
    assert site.clock.slept_s == 0


def test_what_needs_no_look_up_is_sent_behind_the_batch_before_it() -> None:
    site = Installation(Limits(batch_max=1))
    process = site.process()
    process.turn(3)
    site.publish(volume("v"), snapshot("s", "v"), volume("elsewhere", source=Item("p2", *S[1:])))
    begun = len(process.troubles.reached)
    process.turn(3)
    sent = [it for it in process.troubles.reached[begun:] if it in WAITS]
    assert sent == [
        "store.commit",
        "store.commit",
        "store.commit result",
        # What another project has is not presumed, and asked for behind what is written.
        "store.look_up",
        "store.commit result",
        "store.look_up result",
        "store.commit",
    ]
    process.run()
    assert_all_assigned(site, volume("v"), snapshot("s", "v"))


class Withholding(Manner):
    """Confirms nothing while it is told not to, however long it is waited for."""

    def __init__(self) -> None:
        self.withholds = False

    def confirms(
        self, channel: ServerChannel, stored: Mapping[int, bool], *, patience: bool
    ) -> Iterator[Confirm]:
        if not self.withholds:
            yield from super().confirms(channel, stored, patience=patience)


def withholding() -> tuple[Withholding, Installation, Process]:
    """A worker at rest, and a broker that confirms nothing from now on."""
    manner = Withholding()
    site = Installation(manner=manner)
    process = site.process()
    # Until it has nothing to report or to anchor, which takes no time.
    process.turn(3)
    manner.withholds = True
    return manner, site, process


def test_nothing_waits_for_the_broker_while_there_is_something_to_do() -> None:
    manner, site, process = withholding()
    events = [volume("a"), snapshot("s", "a"), volume("b"), volume("c")]
    bad = garbage()
    for event in (events[0], bad, *events[1:]):
        site.publish(event)
        process.turn(2)
    assert set(site.announced()) == {"volume:a", "snapshot:s", "volume:b", "volume:c"}
    assert len(site.letters) == 1
    assert settlings(site) == []
    assert not site.broker.is_settled
    manner.withholds = False
    process.turn(2)
    settled = [events[0].body, bad.body, *(event.body for event in events[1:])]
    assert list(dict.fromkeys(settlings(site))) == settled
    assert_settled(site)
    assert process.tally.totals["failures"] == 0


def test_confirms_that_do_not_come_are_not_waited_for_for_ever() -> None:
    manner, site, process = withholding()
    site.publish(volume("a"), volume("b"))
    began = site.clock.monotonic()
    while not process.tally.totals["failures"]:
        process.turn()
    waited_s = site.clock.monotonic() - began
    assert waited_s == pytest.approx(30.0, abs=1.0)
    manner.withholds = False
    process.run()
    assert_all_assigned(site, volume("a"), volume("b"))


@pytest.mark.parametrize("come", [True, False])
def test_a_stop_waits_for_confirms_and_not_for_ever(come: bool) -> None:
    manner, site, process = withholding()
    site.publish(volume("a"))
    process.turn(2)
    began = site.clock.monotonic()
    process.worker.stop()
    manner.withholds = not come
    process.worker.run()
    assert site.broker.is_settled == come
    waited_s = site.clock.monotonic() - began
    assert waited_s == pytest.approx(0 if come else site.limits.stop_deadline_s, abs=0.1)
    manner.withholds = False
    site.process().run()
    assert_all_assigned(site, volume("a"))


def settlings(site: Installation) -> list[bytes]:
    return [effect.body for effect in site.broker.journal if effect.kind == "settling"]


@pytest.mark.parametrize("second", ["event-volume-v", "another"])
def test_each_event_for_an_assigned_item_repeats_its_assignment_in_the_same_bytes(
    site: Installation, second: str
) -> None:
    site.handle(volume("v"), volume("v", event_id=second))
    site.handle(volume("v", event_id=second))
    (bodies,) = site.announced().values()
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert_all_assigned(site, volume("v"))


def test_the_event_that_founded_a_partition_announces_both_again(site: Installation) -> None:
    founder, joiner = partition_replica("4711@a", "4711"), partition_replica("4711@b", "4711")
    site.handle(founder, joiner)
    site.handle(founder, joiner)
    counted = {ref: len(bodies) for ref, bodies in site.announced().items()}
    assert counted == {"partition:4711": 2, "replica:4711@a": 2, "replica:4711@b": 2}
    assert_all_assigned(site, founder, joiner)


def test_an_announcement_that_no_queue_is_bound_for_is_counted_and_no_error() -> None:
    site = Installation()
    site.broker.unbind("subscriber")
    process = site.handle(volume("v"))
    assert process.tally.totals["unrouted"] == 1
    assert site.record(V) is not None
    assert_settled(site)


def test_the_tally_says_what_the_events_came_to(site: Installation) -> None:
    process = site.handle(*HISTORY, volume("v"), garbage(), snapshot("early", "late"))
    assert process.tally.totals == Counter(
        create=3, reuse=4, clone=1, repeat=1, dead=1, waiting=1, unrouted=0
    )
