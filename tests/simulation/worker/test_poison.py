"""Events that may have ended a worker: tried alone, counted before each try, given up in time."""

from collections.abc import Callable, Iterable, Sequence

import pytest

from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.domain.waiting import Taken
from kmworker.errors import StoreUnavailable
from kmworker.ports import Pending
from kmworker.worker.parse import Batch
from kmworker.worker.stages import AwaitingCommit, AwaitingLookup
from tests.kit.simulator.checks import assert_all_assigned, assert_settled
from tests.kit.simulator.events import garbage, snapshot, volume
from tests.kit.simulator.installation import Installation, Limits, Process
from tests.kit.simulator.troubles import Crash, Lost

POISON = volume("poison")
NEIGHBOURS = (volume("a"), snapshot("s", "a"), volume("b"), volume("c"))
EVENTS = (*NEIGHBOURS[:2], POISON, *NEIGHBOURS[2:])


def deliver_and_die(site: Installation, times: int) -> None:
    """Let everything have come so often to a process that ended."""
    ready = site.broker.work.ready
    for _ in range(times):
        ready.extend([ready.popleft().handed_back() for _ in range(len(ready))])


def deadly_to_read(process: Process) -> None:
    """Let the process end when it reads the poison."""
    parse = process.stages._parser.parse

    def parsed(deliveries: Iterable[Delivery], taken: Iterable[Taken] = ()) -> Batch:
        read = list(deliveries)
        if any(delivery.original.body == POISON.body for delivery in read):
            process.troubles.crash()
        return parse(read, taken)

    process.stages._parser.parse = parsed  # type: ignore[method-assign]


def run_until_over(site: Installation, crashing: Callable[[Process], None]) -> int:
    """Start processes until one ends in good order; return how many did not."""
    for crashes in range(50):
        process = site.process()
        crashing(process)
        try:
            process.run()
        except Crash:
            process.die()
        else:
            return crashes
    raise AssertionError("no process survives")


def attempts_kept(site: Installation) -> dict[bytes, bytes]:
    kept: dict[bytes, bytes] = site.redis.hgetall(site.names.top("attempts"))
    return kept


@pytest.mark.parametrize("max_attempts", [1, 3])
@pytest.mark.parametrize(
    ("is_read", "event_id", "rounds"),
    # What cannot even be read is given up unread, after as many tries again.
    [(True, POISON.event_id, 1), (False, "", 2)],
)
def test_an_event_that_ends_every_worker_is_given_up_and_its_neighbours_are_not(
    max_attempts: int, is_read: bool, event_id: str, rounds: int
) -> None:
    site = Installation(Limits(max_attempts=max_attempts))
    site.publish(*EVENTS)
    if is_read:
        site.poison[POISON.item.ref] = Crash()
    crashes = run_until_over(site, (lambda _process: None) if is_read else deadly_to_read)
    # Twice with its neighbours, then alone.
    assert crashes == 2 + max_attempts * rounds
    assert len(site.letters) == 1
    headers = site.letter_of(POISON)
    assert headers["x-kmworker-reason"] == "internal"
    assert headers["x-kmworker-event-id"] == event_id
    assert headers["x-kmworker-attempts"] == max_attempts * rounds
    assert "x-delivery-count" not in headers
    for neighbour in NEIGHBOURS:
        assert neighbour.item.ref in site.announced()
    assert_settled(site)
    assert not attempts_kept(site)


def test_poison_messages_are_handled_one_by_one(site: Installation) -> None:
    site.publish(*EVENTS)
    deliver_and_die(site, times=2)
    process = site.process()
    counted: list[int] = []
    process.troubles.at_each = lambda point: (
        counted.append(len(attempts_kept(site))) if point == "store.commit result" else None
    )
    process.run()
    assert counted == [1] * len(EVENTS)
    assert_all_assigned(site, *EVENTS)
    assert not attempts_kept(site)


def test_an_event_that_was_delivered_once_before_is_no_poison_message(site: Installation) -> None:
    site.publish(*EVENTS)
    deliver_and_die(site, times=1)
    process = site.process()
    process.run()
    # One by itself, to see what comes; then the rest together.
    assert process.troubles.counts()["store.commit result"] == 2
    assert not process.troubles.counts()["store.count_attempt"]


def test_redelivered_events_are_handled_apart_from_fresh_ones(site: Installation) -> None:
    site.publish(*EVENTS)
    deliver_and_die(site, times=1)
    process = site.handle(volume("fresh"))
    assert process.troubles.counts()["store.commit result"] == 3
    assert_all_assigned(site, *EVENTS, volume("fresh"))


@pytest.mark.parametrize(
    "point",
    [
        "store.look_up result",
        "store.commit",
        "store.commit result",
        "bus.send",
        "bus.send result",
    ],
)
def test_servers_that_go_away_do_not_count_against_a_poison_message(point: str) -> None:
    site = Installation(Limits(max_attempts=1))
    site.publish(*EVENTS)
    deliver_and_die(site, times=2)
    process = site.process()
    error = StoreUnavailable("gone") if point.startswith("store") else Lost()
    process.troubles.at(point, error, times=6)
    process.run()
    assert process.troubles.over()
    assert_all_assigned(site, *EVENTS)
    assert not attempts_kept(site)


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), Lost()], ids=["store", "broker"])
def test_servers_that_go_away_take_nothing_back_of_what_ended_workers(error: Exception) -> None:
    site = Installation(Limits(max_attempts=3))
    site.publish(POISON)
    deliver_and_die(site, times=2)
    for tries in range(1, 4):
        process = site.process()
        process.troubles.at("store.look_up result", error, times=2)
        deadly_to_process_when_over(process)
        with pytest.raises(Crash):
            process.run()
        process.die()
        assert list(attempts_kept(site).values()) == [b"%d" % tries]
    site.process().run()
    assert site.reasons() == {POISON.event_id: "internal"}
    assert not attempts_kept(site)


def deadly_to_process_when_over(process: Process) -> None:
    """Let the process end when it has read the poison, and nothing else is wrong."""
    write = process.stages.commit

    def written(asked: AwaitingLookup) -> AwaitingCommit:
        write(asked)
        process.troubles.crash()

    process.stages.commit = written  # type: ignore[method-assign]


def test_a_poison_message_that_pauses_between_its_tries_is_not_forgotten() -> None:
    site = Installation(Limits(max_attempts=3))
    site.publish(POISON)
    deliver_and_die(site, times=2)

    def failing_then_deadly(process: Process) -> None:
        look_up, tries = process.stages.look_up, iter((1, 2))

        def looked_up(batch: Batch) -> AwaitingLookup:
            if batch.arrivals and next(tries) == 1:
                raise RuntimeError
            if batch.arrivals:
                process.troubles.crash()
            return look_up(batch)

        process.stages.look_up = looked_up  # type: ignore[method-assign]

    assert run_until_over(site, failing_then_deadly) == 3
    assert site.reasons() == {POISON.event_id: "internal"}
    assert not attempts_kept(site)


def test_an_unreadable_poison_message_is_what_it_is(site: Installation) -> None:
    site.publish(garbage())
    deliver_and_die(site, times=5)
    site.process().run()
    assert site.reasons() == {"": "malformed"}
    assert not attempts_kept(site)


def test_a_dead_letter_that_ends_every_worker_does_not_hold_up_the_rest() -> None:
    site = Installation(Limits(max_attempts=2))
    poison = garbage()
    site.publish(*NEIGHBOURS, poison)

    def deadly_letter(process: Process) -> None:
        send = process.bus.send

        def sent(messages: Sequence[Outgoing]) -> Pending[list[Confirm]]:
            if any(message.exchange == site.broker.topology.dead for message in messages):
                process.troubles.crash()
            return send(messages)

        process.bus.send = sent  # type: ignore[method-assign]

    for _ in range(4):
        process = site.process()
        deadly_letter(process)
        process.run_into_crash()
    for neighbour in NEIGHBOURS:
        assert neighbour.item.ref in site.announced()
