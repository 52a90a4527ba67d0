"""What a worker counts: minute by minute, with a clock that ticks when told to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.decision import Refuse
from kmworker.errors import Reason
from kmworker.worker.tally import COUNTED, FEED_KEPT, LATENCIES_KEPT, Tally
from tests.kit.builders import EARLIER, assignment_of, volume
from tests.kit.simulator.clock import Ahead, SettableClock

CONTRACT_FIELDS = {
    "worker", "create", "clone", "reuse", "none", "released", "repeat", "waiting", "dead",
    "unrouted",
    "latency_p50_ms", "latency_p99_ms",
}  # fmt: skip


@pytest.fixture
def clock() -> Ahead:
    return Ahead(SettableClock(), 0.0)


@pytest.fixture
def tally(clock: Ahead) -> Tally:
    return Tally(clock)


def numbers_of(tally: Tally) -> dict[str, Any]:
    return dict(tally.end_minute("w1"))


# --- minutes ----------------------------------------------------------------------


def test_a_minute_has_the_contracts_fields_and_no_others(tally: Tally) -> None:
    tally.count("failures")
    numbers = numbers_of(tally)
    assert set(numbers) == CONTRACT_FIELDS
    assert numbers.pop("worker") == "w1"
    assert set(numbers.values()) == {0}


def test_a_minute_is_handed_over_when_it_has_ended_and_not_before(
    tally: Tally, clock: Ahead
) -> None:
    assert tally.minute("w1") is None
    tally.count("create")
    clock.sleep(59.9)
    assert tally.minute("w1") is None
    clock.sleep(0.1)
    numbers = tally.minute("w1")
    assert numbers is not None
    assert numbers["create"] == 1
    assert tally.minute("w1") is None


def test_each_minute_counts_for_itself_and_totals_go_on(tally: Tally, clock: Ahead) -> None:
    tally.minute("w1")
    counted = []
    for number in (3, 2):
        tally.count("repeat", number)
        tally.took(number)
        clock.sleep(60)
        numbers = tally.minute("w1")
        assert numbers is not None
        counted.append((numbers["repeat"], numbers["latency_p50_ms"]))
    assert counted == [(3, 3000), (2, 2000)]
    assert tally.totals["repeat"] == 5


def test_a_minute_begins_where_the_one_before_it_was_handed_over(
    tally: Tally, clock: Ahead
) -> None:
    tally.minute("w1")
    clock.sleep(90)
    assert tally.minute("w1") is not None
    clock.sleep(59)
    assert tally.minute("w1") is None
    clock.sleep(1)
    assert tally.minute("w1") is not None


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_changes_no_minute(tally: Tally, clock: Ahead, hours: int) -> None:
    tally.minute("w1")
    clock.ahead_s = hours * 3600
    clock.sleep(59)
    assert tally.minute("w1") is None
    clock.sleep(1)
    assert tally.minute("w1") is not None


def test_the_last_minute_is_handed_over_however_short(tally: Tally, clock: Ahead) -> None:
    tally.minute("w1")
    tally.count("create")
    clock.sleep(1)
    assert numbers_of(tally)["create"] == 1
    assert numbers_of(tally)["create"] == 0


def test_a_quiet_minute_is_handed_over_too(tally: Tally, clock: Ahead) -> None:
    tally.minute("w1")
    clock.sleep(60)
    numbers = tally.minute("w1")
    assert numbers is not None
    assert (numbers["create"], numbers["latency_p99_ms"]) == (0, 0.0)


# --- counters ---------------------------------------------------------------------


@pytest.mark.parametrize("what", COUNTED)
def test_everything_counted_is_in_the_minute_and_the_totals(tally: Tally, what: str) -> None:
    tally.count(what)
    tally.count(what, 2)
    assert tally.totals[what] == 3
    assert numbers_of(tally)[what] == 3


def test_an_assignment_counts_by_its_disposition_and_is_fed_once(tally: Tally) -> None:
    tally.assigned([assignment_of(volume())])
    assert numbers_of(tally)["create"] == 1
    fed, again = tally.feed(), tally.feed()
    assert again == []
    assert fed == [
        {
            "what": "assignment",
            "project": "p1",
            "item": "volume:v1",
            "disposition": "create",
            "key_id": "key-v1",
            "rule": "a-rule",
            "at": EARLIER,
        }
    ]


def test_an_unencrypted_item_is_fed_without_a_key_id(tally: Tally) -> None:
    tally.assigned([assignment_of(volume(), encryption=None)])
    assert numbers_of(tally)["none"] == 1
    (entry,) = tally.feed()
    assert (entry["disposition"], entry["key_id"]) == ("none", "")


def test_a_dead_letter_counts_and_is_fed(tally: Tally) -> None:
    tally.dead(Refuse(Reason.CONFLICT, "it is assigned"), "6d1c", "volume-created", EARLIER)
    assert numbers_of(tally)["dead"] == 1
    assert tally.feed() == [
        {
            "what": "dead",
            "reason": "conflict",
            "detail": "it is assigned",
            "event_id": "6d1c",
            "event_type": "volume-created",
            "at": EARLIER,
        }
    ]


# --- latencies --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("millis", "p50", "p99"),
    [
        pytest.param([], 0.0, 0.0, id="nothing took time"),
        pytest.param([7.0], 7.0, 7.0, id="one"),
        pytest.param([3.0, 1.0, 2.0], 2.0, 3.0, id="three"),
        pytest.param([float(n) for n in range(101)], 50.0, 99.0, id="a hundred and one"),
        pytest.param([float(n) for n in reversed(range(1001))], 500.0, 990.0, id="in reverse"),
        pytest.param([1.0] * 980 + [500.0] * 21, 1.0, 500.0, id="a slow fiftieth"),
        pytest.param([1.0] * 999 + [500.0] * 2, 1.0, 1.0, id="two slow ones in a thousand"),
        pytest.param([0.00149], 0.001, 0.001, id="to the microsecond"),
    ],
)
def test_percentiles_are_of_the_minutes_events(
    tally: Tally, millis: list[float], p50: float, p99: float
) -> None:
    for value in millis:
        tally.took(value / 1000)
    numbers = numbers_of(tally)
    assert numbers["latency_p50_ms"] == pytest.approx(p50)
    assert numbers["latency_p99_ms"] == pytest.approx(p99)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_percentiles_are_values_that_were_measured_and_in_order(seconds: list[float]) -> None:
    tally = Tally(SettableClock())
    for value in seconds:
        tally.took(value)
    numbers = numbers_of(tally)
    measured = {round(value * 1000, 3) for value in seconds}
    assert {numbers["latency_p50_ms"], numbers["latency_p99_ms"]} <= measured
    assert numbers["latency_p50_ms"] <= numbers["latency_p99_ms"]
    assert sum(round(s * 1000, 3) <= numbers["latency_p99_ms"] for s in seconds) >= 0.99 * len(
        seconds
    )


# --- memory -----------------------------------------------------------------------


def test_a_busy_minutes_latencies_take_no_more_room_than_a_percentile_needs(tally: Tally) -> None:
    for _ in range(LATENCIES_KEPT):
        tally.took(100.0)
    for _ in range(LATENCIES_KEPT):
        tally.took(0.001)
    assert len(tally._latencies_ms) == LATENCIES_KEPT
    # The latest are kept.
    assert numbers_of(tally)["latency_p99_ms"] == 1.0


def test_a_feed_that_nobody_takes_keeps_the_latest(tally: Tally) -> None:
    for number in range(FEED_KEPT + 5):
        tally.assigned([assignment_of(volume(f"v{number}"))])
    feed = tally.feed()
    assert len(feed) == FEED_KEPT
    assert (feed[0]["item"], feed[-1]["item"]) == ("volume:v5", f"volume:v{FEED_KEPT + 4}")
