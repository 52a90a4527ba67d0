"""Events that may have ended a worker: tried alone, counted before each try, given up in time."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kmworker.errors import StoreUnavailable
from kmworker.message import Delivery, Outgoing
from kmworker.outcomes import Dead
from kmworker.path import Asked, Step
from kmworker.plan import Arrival
from kmworker.ports import Confirms, Taken
from tests.simulation.checks import assert_all_assigned, assert_settled
from tests.simulation.events import garbage, snapshot, volume
from tests.simulation.installation import Installation, Limits, Process
from tests.simulation.troubles import Crash, Lost

POISON = volume("poison")
NEIGHBOURS = (volume("a"), snapshot("s", "a"), volume("b"), volume("c"))
EVENTS = (*NEIGHBOURS[:2], POISON, *NEIGHBOURS[2:])


def deliver_and_die(site: Installation, times: int) -> None:
    """Let so many processes end with everything in their hands."""
    for _ in range(times):
        process = site.process()
        process.bus.open()
        process.die()


def deadly_to_read(process: Process) -> None:
    """Let the process end when it reads the poison."""
    parse = process.path.parse

    def parsed(deliveries: Sequence[Delivery], taken: Sequence[Taken]) -> Any:
        if any(delivery.original.body == POISON.body for delivery in deliveries):
            process.troubles.crash()
        return parse(deliveries, taken)

    process.path.parse = parsed  # type: ignore[method-assign, assignment]


def deadly_to_process(process: Process) -> None:
    """Let the process end when it has read the poison."""
    ask = process.path.ask

    def asked(arrivals: Sequence[Arrival], dead: Sequence[Dead]) -> Asked:
        if any(arrival.original.body == POISON.body for arrival in arrivals):
            process.troubles.crash()
        return ask(arrivals, dead)

    process.path.ask = asked  # type: ignore[method-assign]


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
    ("crashing", "event_id", "rounds"),
    # What cannot even be read is given up unread, after as many tries again.
    [(deadly_to_process, POISON.event_id, 1), (deadly_to_read, "", 2)],
)
def test_an_event_that_ends_every_worker_is_given_up_and_its_neighbours_are_not(
    max_attempts: int, crashing: Callable[[Process], None], event_id: str, rounds: int
) -> None:
    site = Installation(Limits(max_attempts=max_attempts))
    site.publish(*EVENTS)
    crashes = run_until_over(site, crashing)
    # Twice with its neighbours, then alone.
    assert crashes == 2 + max_attempts * rounds
    (letter,) = site.letters
    headers = letter.properties["application_headers"]
    assert letter.body == POISON.body
    assert headers["x-kmworker-reason"] == "internal"
    assert headers["x-kmworker-event-id"] == event_id
    assert headers["x-kmworker-attempts"] == max_attempts * rounds
    assert "x-delivery-count" not in headers
    for neighbour in NEIGHBOURS:
        assert neighbour.item.ref in site.announced()
    assert_settled(site)
    assert not attempts_kept(site)


def test_suspects_are_handled_one_by_one() -> None:
    site = Installation()
    site.publish(*EVENTS)
    deliver_and_die(site, times=2)
    process = site.process()
    counted: list[int] = []
    process.troubles.at_each = lambda point: (
        counted.append(len(attempts_kept(site))) if point == "store.commit" else None
    )
    process.run()
    assert counted == [1] * len(EVENTS)
    assert_all_assigned(site, *EVENTS)
    assert not attempts_kept(site)


def test_an_event_that_was_delivered_once_before_is_no_suspect() -> None:
    site = Installation()
    site.publish(*EVENTS)
    deliver_and_die(site, times=1)
    process = site.process()
    process.run()
    assert process.troubles.counts()["store.commit"] == 1
    assert not process.troubles.counts()["store.count_attempt"]


def test_redelivered_events_are_handled_apart_from_fresh_ones() -> None:
    site = Installation()
    site.publish(*EVENTS)
    deliver_and_die(site, times=1)
    site.publish(volume("fresh"))
    process = site.process()
    process.run()
    assert process.troubles.counts()["store.commit"] == 2
    assert_all_assigned(site, *EVENTS, volume("fresh"))


@pytest.mark.parametrize(
    "point",
    ["store.look_up", "store.commit", "store.commit done", "bus.send", "bus.send done"],
)
def test_servers_that_go_away_do_not_count_against_a_suspect(point: str) -> None:
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


def test_an_unreadable_suspect_is_what_it_is() -> None:
    site = Installation()
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

        def sent(messages: Sequence[Outgoing]) -> Confirms:
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


@pytest.mark.parametrize("step", list(Step))
def test_a_process_that_ends_after_any_step_leaves_everything_to_the_next(step: Step) -> None:
    site = Installation(Limits(batch_max=3))
    first = site.process(on_step=lambda reached: _crash_at(first, step, reached))
    site.publish(*EVENTS)
    first.run_into_crash()
    second = site.process()
    second.run()
    assert_all_assigned(site, *EVENTS)


def _crash_at(process: Process, step: Step, reached: Step) -> None:
    if step is reached:
        process.troubles.crash()
