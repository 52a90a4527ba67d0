"""A worker that works in turns, with something beside it and without."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from statistics import median

from bench.contestants import WORKER
from bench.events import collections
from bench.servers import Servers
from bench.stage import Moment, Running, Stage, on_stage
from bench.tables import table
from bench.throughput import PROJECTS, rate_over, warm

__all__ = ["Busy", "beside"]

LEAD_S = 5.0
"""What it may take until something is beside it."""
Busy = Callable[[Servers, Stage], AbstractContextManager[None]]


def beside(  # noqa: PLR0913  # what one measurement is told
    servers: Servers, rounds: int, seconds: float, busy: Busy, *, name: str, most: float
) -> Iterator[str]:
    """Let a worker work in turns, with something beside it all the while and without.

    Args:
        servers: with a store that is filled.
        rounds: of two turns each.
        seconds: of each turn.
        busy: what is beside it, as long as it is entered.
        name: of that.
        most: the share by which a worker may be slowed.
    """
    spans: dict[bool, list[tuple[Moment, Moment]]] = {False: [], True: []}
    with on_stage(servers, WORKER, keep_store=True) as stage:
        backlog = int(2 * rounds * (seconds + LEAD_S) * WORKER.backlog / 10)
        events = collections(backlog, PROJECTS, stage.namespace)
        stage.publish(((kind, _elsewhere(document)) for kind, document in events))
        with warm(stage) as run:
            for number in range(2 * rounds):
                # First one, then the other, so that neither always comes behind the other.
                is_beside = number % 4 in {1, 2}
                with busy(servers, stage) if is_beside else _alone():
                    spans[is_beside].append(_span(run, stage, seconds))
    rates = {it: [rate_over([span]) for span in spans[it]] for it in spans}
    rows = [
        [name, f"{median(it.events_per_s for it in rates[has]):,.0f}",
         f"{median(it.cpu_us for it in rates[has]):,.0f}",
         f"{median(it.busy['redis'] for it in rates[has]):.2f}",
         f"{median(it.busy['others'] for it in rates[has]):.2f}"]
        for name, has in (("alone", False), (f"beside {name}", True))
    ]  # fmt: skip
    heads = ["a worker", "events/s", "CPU µs per event", "Redis' cores", "others'"]
    yield from table(heads, rows)
    alone, slowed = (median(it.events_per_s for it in rates[has]) for has in (False, True))
    share = 1 - slowed / alone
    verdict = "reached" if share < most else "missed"
    yield f"slowed by {share:.0%}; aim: less than {most:.0%}: {verdict}"


def _elsewhere(document: dict[str, object]) -> dict[str, object]:
    """Move an event to a project that is not counted."""
    data = document["data"]
    assert isinstance(data, dict)
    return {**document, "data": {**data, "project_id": f"beside-{data['project_id']}"}}


def _span(run: Running, stage: Stage, seconds: float) -> tuple[Moment, Moment]:
    first = run.moment()
    time.sleep(seconds)
    last = run.moment()
    stage.tick()
    if stage.assigned() >= stage.published:
        raise RuntimeError("all had been handled: the backlog is too small")
    return first, last


@contextmanager
def _alone() -> Iterator[None]:
    yield
