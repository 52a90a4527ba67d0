"""A store with many items, fast: through the worker's own plan and store, without a broker."""

from collections.abc import Callable, Iterable
from itertools import islice

from bench.events import LoadEvent, cloud_event
from bench.stage import Stage
from kmworker.batch import fold, items_to_look_up
from kmworker.bootstrap import open_store, read_policy
from kmworker.clock import SystemClock, rfc3339
from kmworker.events import Unreadable, parse
from kmworker.ids import random_id
from kmworker.message import Original, Outgoing
from kmworker.plan import Arrival, Fresh

__all__ = ["FILL_BLOCK", "fill"]

FILL_BLOCK = 400
PORTION = 3 * FILL_BLOCK


def fill(stage: Stage, events: Iterable[LoadEvent], progress: Callable[[int], None]) -> None:
    """Handle events as a worker would, in large batches, telling how many as it goes."""
    parts = open_store(stage.settings, "bench")
    parts.store.admit()
    policy, clock = read_policy(stage.settings), SystemClock()
    waiting, done = iter(events), 0
    while portion := list(islice(waiting, PORTION)):
        arrivals = [_arrival(cloud_event(stage.topology, event)) for event in portion]
        known = parts.store.look_up(items_to_look_up(arrival.event for arrival in arrivals))
        fresh = Fresh(rfc3339(clock.now()), random_id, parts.vault.kek_id)
        parts.store.commit(fold(arrivals, known, policy, fresh).writes)
        done += len(portion)
        stage.tick()
        progress(done)


def _arrival(message: Outgoing) -> Arrival:
    event = parse(message.body, message.properties["content_type"], message.routing_key)
    assert not isinstance(event, Unreadable), event
    return Arrival(event, Original(message.body, message.routing_key, message.properties))
