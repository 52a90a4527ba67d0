"""A store with many items, fast: through the worker's own plan and store, without a broker."""

from collections.abc import Callable, Iterable
from itertools import islice

from bench.events import LoadEvent, cloud_event
from bench.stage import Stage
from kmworker.bootstrap.worker import open_store, read_policy
from kmworker.clock import SystemClock, rfc3339
from kmworker.domain.event import Unreadable
from kmworker.domain.look_up import items_to_look_up
from kmworker.domain.message import Original, Outgoing
from kmworker.domain.plan import Arrival, Fresh
from kmworker.domain.planner import plan_batch
from kmworker.wire.events.reading import parse
from kmworker.wire.ids import random_id

FILL_BLOCK = 400
PAGE_SIZE = 3 * FILL_BLOCK


def fill(stage: Stage, events: Iterable[LoadEvent], progress: Callable[[int], None]) -> None:
    """Handle events as a worker would, in large batches, telling how many as it goes."""
    parts = open_store(stage.settings, "bench")
    parts.store.admit()
    policy, clock = read_policy(stage.settings), SystemClock()
    waiting, done = iter(events), 0
    while page := list(islice(waiting, PAGE_SIZE)):
        arrivals = [_arrival(cloud_event(stage.topology, event)) for event in page]
        items = items_to_look_up(arrival.event for arrival in arrivals)
        known = parts.store.look_up(items).result()
        now = rfc3339(clock.now())
        # What nobody holds any more is due at once.
        fresh = Fresh(now, random_id, parts.custody.kek_id, destroy_at=now)
        parts.store.commit(plan_batch(arrivals, known, policy, fresh).writes).result()
        done += len(page)
        stage.tick()
        progress(done)


def _arrival(message: Outgoing) -> Arrival:
    event = parse(message.body, message.properties["content_type"], message.routing_key)
    assert not isinstance(event, Unreadable), event
    return Arrival(event, Original(message.body, message.routing_key, message.properties))
