"""What the benchmark's figures rest on, as far as it needs no servers."""

from collections import Counter
from dataclasses import replace

import pytest

from bench.contestants import LIMIT, WORKER
from bench.events import BLOCK, LoadEvent, collections, comings_and_goings
from bench.goals import Goal
from bench.memory import Memory
from bench.processes import MachineTime
from bench.results import Machine, Plan, Results
from bench.scaling import costs_of, for_items, for_rates
from bench.stage import Moment
from bench.store_size import StoreCost, mixed_items, ratios
from bench.tables import table
from bench.throughput import Throughput, rate_over
from kmworker.bootstrap.worker import prefetch_for

# The largest prefetch among the contestants: the worker's.
MAX_AT_HAND = prefetch_for(256)


def test_a_third_each_of_the_events_create_reuse_and_clone() -> None:
    events = list(collections(9, 2, "run", block=3))
    assert [event_type for event_type, _document in events] == [
        *["volume-created"] * 3,
        *["snapshot-taken"] * 3,
        *["volume-created"] * 3,
    ]
    assert all("source" in document["data"] for _type, document in events[6:])  # type: ignore[operator]


def test_a_third_of_what_comes_and_goes_is_released_and_was_made_before() -> None:
    events = list(comings_and_goings(2 * 3 * BLOCK, 10, "run"))
    ended = [event for event in events if event[0].endswith("-deleted")]
    assert len(ended) == 2 * BLOCK
    made = {_item(event): at for at, event in enumerate(events) if event not in ended}
    distances = [at - made[_item(event)] for at, event in enumerate(events) if event in ended[:50]]
    assert min(distances) > MAX_AT_HAND
    assert {event[0] for event in ended} == {"snapshot-deleted", "volume-deleted"}


def test_a_source_is_farther_ahead_than_anybody_prefetches() -> None:
    events = list(collections(2 * 3 * BLOCK, 10, "run"))
    place = {_item(event): at for at, event in enumerate(events)}
    distances = [
        at - place[source] for at, event in enumerate(events) if (source := _source(event))
    ]
    assert len(distances) == 4 * BLOCK
    assert min(distances) > MAX_AT_HAND


def test_no_two_events_of_a_run_are_about_one_item() -> None:
    items = Counter(_item(event) for event in collections(7_000, 10, "run"))
    assert set(items.values()) == {1}


def test_a_rate_is_of_what_happened_in_the_spans_that_were_looked_at() -> None:
    first = Moment(10.0, 500, {"contestant": 1.0, "redis": 5.0}, MachineTime(100.0, 50.0, 1.0))
    paused = Moment(11.5, 1_500, {"contestant": 1.5, "redis": 5.1}, MachineTime(102.0, 51.0, 1.0))
    again = Moment(20.0, 1_500, {"contestant": 1.5, "redis": 5.3}, MachineTime(115.0, 55.0, 1.0))
    last = Moment(20.5, 2_500, {"contestant": 1.5, "redis": 5.4}, MachineTime(116.0, 55.0, 1.0))
    turn = rate_over([(first, paused), (again, last)])
    assert turn.events_per_s == 1_000
    assert turn.cpu_us == pytest.approx(250)
    assert turn.busy["redis"] == pytest.approx(0.1)
    assert turn.busy["machine"] == pytest.approx(1.5)
    assert turn.busy["others"] == pytest.approx(1.5 - 0.25 - 0.1)


def test_no_rate_is_made_of_a_time_in_which_nothing_was_handled() -> None:
    first = Moment(10.0, 500, {"contestant": 1.0}, MachineTime(100.0, 50.0, 1.0))
    with pytest.raises(RuntimeError, match="backlog"):
        rate_over([(first, replace(first, at_s=12.0))])


def test_what_more_events_need_follows_from_the_costs() -> None:
    results = Results(Plan(), Machine("", "", 2, 4.0, "", {}, 0.0))
    busy = {"contestant": 0.5, "rabbitmq": 0.4, "redis": 0.1}
    results.throughput = {
        WORKER.name: [Throughput(2_000, 250, busy)],
        LIMIT.name: [Throughput(5_000, 50, busy)],
    }
    results.memory = [Memory("Redis 7.0", 1_000_000, 1_400, {}, 1_200, 2_000)]
    results.stores = {
        mixed_items().title(1_000): [StoreCost(2_000, 250, 60)],
        mixed_items().title(1_000_000): [StoreCost(2_000, 250, us) for us in (70, 90, 300)],
        # Somebody disturbed the machine here: dearer, and not what is asked for.
        mixed_items(drawn=1_000).title(1_000_000): [StoreCost(2_000, 250, 100)],
    }
    costs = costs_of(results)
    assert (costs.worker_us, costs.broker_us, costs.store_us) == (250, 200, 90)
    assert (costs.small_store_us, costs.store_items) == (50, 1_000_000)
    # 20,000 events/s keep 5 cores of workers busy, 8.3 with room to catch up.
    assert for_rates(costs)[5].replace(" ", "") == "|20,000|9|7|6.7|3|"
    assert for_items(costs)[4].replace(" ", "") == "|100,000,000|140.0|9|200.0|"


def test_a_table_reads_the_same_on_a_terminal_and_in_markdown() -> None:
    assert table(["", "µs"], [["plan", "46.0"], ["all", "244.0"]]) == [
        "|      |    µs |",
        "| ---- | ----: |",
        "| plan |  46.0 |",
        "| all  | 244.0 |",
    ]


def _item(event: LoadEvent) -> str:
    data = _data(event)
    name = "snapshot_id" if "snapshot_id" in data else "volume_id"
    return f"{name} {data[name]}"


def _source(event: LoadEvent) -> str | None:
    data = _data(event)
    if "snapshot_id" in data:
        return f"volume_id {data['volume_id']}"
    source = data.get("source")
    return f"snapshot_id {source['id']}" if isinstance(source, dict) else None


def _data(event: LoadEvent) -> dict[str, object]:
    data = event[1]["data"]
    assert isinstance(data, dict)
    return data


def test_stores_are_compared_with_the_smallest_of_their_own_round() -> None:
    costs = {
        "ten": [StoreCost(1.0, us, 20.0) for us in (80.0, 180.0, 180.0)],
        "more": [StoreCost(1.0, us, 0.0) for us in (100.0, 200.0, 400.0)],
    }
    assert ratios(costs) == {"ten": 1.0, "more": 1.0}


def test_an_aim_that_is_missed_says_what_bounds_it() -> None:
    reached = Goal("events/s ÷ dramatiq's", 7.25, least=7.0, bound="cores")
    missed = Goal("bytes", 1_530, most=1_400, bound="text")
    assert reached.row() == ["events/s ÷ dramatiq's", "≥ 7", "7.25", "reached"]
    assert missed.row() == ["bytes", "≤ 1,400", "1,530", "text"]
