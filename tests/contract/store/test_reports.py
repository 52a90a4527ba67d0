"""What dashboards read of workers: fresh enough, bounded, and never in an event's way."""

from typing import Any

import pytest

from kmworker.errors import StoreUnavailable
from kmworker.ports import QueueCounts, Report
from kmworker.store.census import Census
from kmworker.store.names import Names
from kmworker.store.reports import RedisReports
from tests.kit.builders import event_of, release_of
from tests.kit.store.builders import AT_S, draft, held, snapshot, volume
from tests.kit.store.playing import play
from tests.kit.store.stand import Stand

DAY_S = 86_400.0
COUNTS = QueueCounts(work=7, dead=2, consumers=3)


def report(
    worker: str = "w1",
    seen_at: float = AT_S,
    *,
    feed: int = 0,
    minute: dict[str, Any] | None = None,
    queues: QueueCounts | None = None,
    **fields: Any,
) -> Report:
    entries = [{"what": "assignment", "item": f"volume:v{n}"} for n in range(feed)]
    return Report(worker, seen_at, {"pid": 42, **fields}, entries, minute, queues)


@pytest.fixture
def reports(stand: Stand) -> RedisReports:
    return stand.reports()


def totals(stand: Stand) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = stand.value(stand.top("totals"))
    # What is under which KEK is counted by itself.
    return {name: it for name, it in found.items() if b":" not in name and b"keks" not in name}


def test_a_worker_shows_its_fields_and_when_it_was_seen(
    stand: Stand, reports: RedisReports
) -> None:
    reports.write(report(host="blk01", last_error="", create=3)).result()
    assert stand.contents() == {
        stand.top("worker:w1"): {
            b"pid": b"42", b"host": b"blk01", b"last_error": b"", b"create": b"3",
        },
        stand.top("workers"): {b"w1": AT_S},
    }  # fmt: skip
    reports.write(report(seen_at=AT_S + 1, create=4)).result()
    assert stand.value(stand.top("worker:w1"))[b"create"] == b"4"
    assert stand.value(stand.top("workers")) == {b"w1": AT_S + 1}


def test_a_dead_worker_is_kept_for_a_day(stand: Stand, reports: RedisReports) -> None:
    reports.write(report("w1")).result()
    assert 86_390 <= stand.raw.ttl(stand.top("worker:w1")) <= 86_400
    reports.write(report("w2", AT_S + DAY_S - 1)).result()
    assert set(stand.value(stand.top("workers"))) == {b"w1", b"w2"}
    reports.write(report("w2", AT_S + DAY_S)).result()
    assert set(stand.value(stand.top("workers"))) == {b"w2"}


def test_the_feed_has_the_latest_in_order_and_is_bounded(
    stand: Stand, reports: RedisReports
) -> None:
    reports.write(report(feed=3)).result()
    entries = stand.value(stand.top("feed"))
    assert [entry for _id, entry in entries] == [
        {b"what": b"assignment", b"item": f"volume:v{n}".encode()} for n in range(3)
    ]
    for _ in range(11):
        reports.write(report(feed=1000)).result()
    # Whole nodes of the stream are cut off: about ten thousand are left.
    assert 10_000 <= stand.raw.xlen(stand.top("feed")) <= 10_200
    assert stand.raw.xrevrange(stand.top("feed"), count=1)[0][1][b"item"] == b"volume:v999"


def test_minutes_are_flat_numbers_kept_for_a_week(stand: Stand, reports: RedisReports) -> None:
    now = seconds(stand.raw)
    minute = {"worker": "w1", "create": 5, "latency_p50_ms": 1.25}
    for _ in range(250):
        reports.write(report(seen_at=now, minute=minute)).result()
    entries = stand.value(stand.top("minutes"))
    assert len(entries) == 250
    assert entries[0][1] == {b"worker": b"w1", b"create": b"5", b"latency_p50_ms": b"1.25"}
    reports.write(report(seen_at=now + 7 * DAY_S - 60, minute=minute)).result()
    assert stand.raw.xlen(stand.top("minutes")) == 251
    reports.write(report(seen_at=now + 7 * DAY_S + 60, minute=minute)).result()
    # Whole nodes of the stream are cut off.
    assert stand.raw.xlen(stand.top("minutes")) <= 100


def seconds(raw: Any) -> float:
    """Return the server's time: the ids of a stream are its own."""
    whole, micro = raw.time()
    return float(whole + micro / 1e6)


def test_queues_show_their_counts_and_when_they_were_seen(
    stand: Stand, reports: RedisReports
) -> None:
    reports.write(report()).result()
    assert stand.value(stand.top("queues")) is None
    reports.write(report(queues=COUNTS)).result()
    assert stand.value(stand.top("queues")) == {
        b"work": b"7",
        b"dead": b"2",
        b"consumers": b"3",
        b"seen_at": str(AT_S).encode(),
    }


def fill(stand: Stand) -> None:
    for project in ("p1", "p2"):
        one = draft.create(volume("v1", project))
        clone = draft.clone(volume("v2", project), held(one))
        reuse = draft.reuse(snapshot("s1", project), held(one))
        stand.commit(one, clone, reuse, draft.park(volume("v9", project), snapshot("s9", project)))
    stand.commit(draft.none(volume("v3")))


def test_totals_add_up_all_projects(stand: Stand, reports: RedisReports) -> None:
    fill(stand)
    count(reports)
    numbers = {"items": 7, "keys": 4, "scopes": 2, "waiting": 2}
    numbers |= {"create": 2, "clone": 2, "reuse": 2, "none": 1, "outbox": 0, "unrecorded": 0}
    numbers |= {"due": 0, "next_due": 0}
    assert totals(stand) == {
        **{name.encode(): str(number).encode() for name, number in numbers.items()},
        b"computed_at": str(AT_S).encode(),
    }


def test_totals_of_an_empty_store_are_zeros(stand: Stand, reports: RedisReports) -> None:
    count(reports)
    assert {v for k, v in totals(stand).items() if k != b"computed_at"} == {b"0"}


def test_totals_are_added_up_by_one_worker_and_no_more_often_than_needed(
    stand: Stand, reports: RedisReports
) -> None:
    count(reports)
    for other in (reports, stand.reports()):
        count(other, AT_S + 1)
    assert totals(stand)[b"computed_at"] == str(AT_S).encode()
    lease = stand.top("lease:totals")
    assert stand.value(lease) == b"w1"
    assert 4000 < stand.raw.pttl(lease) <= 4500
    stand.raw.delete(lease)
    stand.clock.sleep(5)
    count(reports, AT_S + 2)
    assert totals(stand)[b"computed_at"] == str(AT_S + 2).encode()


def test_many_projects_are_added_up_a_few_at_a_time(stand: Stand) -> None:
    fill(stand)
    stand.raw.sadd(stand.top("projects"), *(f"empty{n}" for n in range(1000)))
    tap = stand.tap()
    # Each round trip takes a tenth of a second of the reports' time.
    tap.before_trip = lambda _: stand.clock.sleep(0.1)
    census = Census(tap, Names(stand.prefix), "w1", stand.clock.monotonic)
    steps = 0
    while stand.value(stand.top("totals")) is None:
        before, began = len(tap.trips), stand.clock.now()
        census.step_if_due(AT_S)
        sent = tap.trips[before:]
        assert sum(map(len, sent)) <= 8 * 250 + 4
        took_s = stand.clock.now() - began
        census.step_if_due(AT_S)
        # The next step is not before twenty times as long has passed.
        assert len(tap.trips) == before + len(sent)
        stand.clock.sleep(max(20 * took_s, 5.0 if not took_s else 0.0))
        steps += 1
    assert steps > 10
    assert totals(stand)[b"items"] == b"7"


def test_adding_up_finds_what_the_index_of_due_projects_lacks(
    stand: Stand, reports: RedisReports
) -> None:
    fill(stand)
    stand.raw.delete(stand.top("due"))
    count(reports)
    deadlines = {
        project: next(iter(stand.value(stand.key(project.decode(), "waiting:deadlines")).values()))
        for project in (b"p1", b"p2")
    }
    assert stand.value(stand.top("due")) == deadlines


def let_go(stand: Stand, *projects: str) -> None:
    """Have nobody hold a key-id any more in each of these projects."""
    for project in projects:
        item = volume("v1", project)
        play(stand, event_of(item))
        play(stand, release_of(item))


def test_what_is_to_be_destroyed_and_announced_is_counted_without_a_look_at_keys(
    stand: Stand, reports: RedisReports
) -> None:
    let_go(stand, "p1", "p2")
    stand.raw.zadd(stand.key("p2", "keys:due"), {"another": AT_S + 7})
    tap = stand.tap()
    count(stand.reports(tap))
    found = totals(stand)
    assert (found[b"due"], found[b"outbox"]) == (b"3", b"2")
    assert float(found[b"next_due"]) == AT_S + 7
    sent = {(words[0], str(words[1])) for trip in tap.trips for words in trip if len(words) > 1}
    assert {command for command, key in sent if key.endswith("}:keys")} == {"HLEN"}


def test_adding_up_finds_outboxes_that_the_index_lacks(stand: Stand, reports: RedisReports) -> None:
    let_go(stand, "p1", "p2", "p3")
    stand.raw.hdel(stand.key("p3", "outbox"), *stand.value(stand.key("p3", "outbox")))
    stand.raw.delete(stand.top("outboxes"))
    # Tried a moment ago, and to be tried again later.
    stand.raw.zadd(stand.top("outboxes"), {"p2": AT_S + 60})
    count(reports, AT_S + 5)
    assert stand.value(stand.top("outboxes")) == {b"p1": AT_S + 5, b"p2": AT_S + 60}


def test_adding_up_counts_what_is_to_be_recorded(stand: Stand, reports: RedisReports) -> None:
    fill(stand)
    stand.raw.hset(stand.key("p1", "unrecorded"), mapping={"volume:v1 1": "{}", "volume:v1 2": ""})
    stand.raw.hset(stand.key("p2", "unrecorded"), "volume:v1 1", "{}")
    count(reports)
    assert totals(stand)[b"unrecorded"] == b"3"
    assert stand.value(stand.top("outboxes")).keys() == {b"p1", b"p2"}


def count(reports: RedisReports, now: float = AT_S) -> None:
    """Go on counting until it is not due any more."""
    for _ in range(40):
        reports.count_if_due(now)


@pytest.mark.parametrize("text", ["text", "", "1.5", "9" * 5000])
def test_a_counter_that_is_no_number_does_not_stop_the_totals(
    stand: Stand, reports: RedisReports, text: str
) -> None:
    fill(stand)
    stand.raw.hset(stand.key("p1", "stats"), "create", text)
    count(reports)
    assert (totals(stand)[b"create"], totals(stand)[b"items"]) == (b"1", b"7")


@pytest.mark.parametrize(
    "key", ["items", "keys", "scopes", "waiting", "outbox", "keys:due", "stats"]
)
def test_a_projects_key_of_the_wrong_type_does_not_stop_the_totals(
    stand: Stand, reports: RedisReports, key: str
) -> None:
    fill(stand)
    stand.spoil(stand.key("p1", key))
    count(reports)
    found = totals(stand)
    assert found[b"items"] == (b"3" if key == "items" else b"7")
    assert found[b"create"] == (b"1" if key == "stats" else b"2")


@pytest.mark.parametrize(
    "key", ["worker:w1", "workers", "feed", "minutes", "queues", "projects", "totals"]
)
def test_a_key_of_the_wrong_type_is_never_worse_than_a_store_that_is_away(
    stand: Stand, reports: RedisReports, key: str
) -> None:
    """A report is best effort: no worker may end over it."""
    stand.spoil(stand.top(key))
    full = report(feed=1, minute={"worker": "w1"}, queues=COUNTS)
    failed = 0
    for number in range(40):
        try:
            if number:
                reports.count_if_due(AT_S)
            else:
                reports.write(full).result()
        except StoreUnavailable:
            failed += 1
    assert failed
    # And the rest of it is there all the same.
    written = {name.removeprefix(f"{stand.prefix}:") for name in stand.contents()}
    expected = {"worker:w1", "workers", "feed", "minutes", "queues", "lease:totals", "totals"}
    expected |= {"lease:spread"}
    assert written - {"projects"} == expected - ({"totals"} if key == "projects" else set())
