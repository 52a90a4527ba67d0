"""Faults of our own: the one event that meets them is given up, and no other suffers for it."""

import io
import json
from collections.abc import Callable
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import structlog

from kmworker.cli.terminal.logs import configure_logs
from kmworker.domain import planner
from kmworker.domain.model import Item, Kind
from kmworker.errors import PermanentError, Reason, ScriptFailed
from kmworker.store import writes
from kmworker.wire.dead_letters.writing import dead_letter
from kmworker.worker import stages
from tests.kit.simulator.checks import assert_settled
from tests.kit.simulator.events import garbage, partition_replica, snapshot, volume
from tests.kit.simulator.installation import Installation, Limits, Process
from tests.kit.simulator.steps import Crash
from tests.kit.simulator.troubles import Links
from tests.kit.simulator.wire import Publish

CURSED = volume("cursed")
NEIGHBOURS = (
    volume("a"),
    snapshot("s", "a"),
    partition_replica("4711@obj-07", "4711"),
    volume("b", project="p2"),
    volume("c"),
)
EVENTS = (*NEIGHBOURS[:2], CURSED, *NEIGHBOURS[2:], garbage())

# By stage: what is called there for each event or record, and of which item that is.
CALLS: dict[str, tuple[ModuleType, str, Callable[..., Item]]] = {
    "plan": (planner, "decide", lambda event, *_: event.item),
    "commit": (
        writes,
        "encode_assignment",
        lambda _codec, _custody, write, _source, _before: write.assignment.item,
    ),
    "announce": (stages, "announce", lambda held, *_: held.assignment.item),
}
at_each_stage = pytest.mark.parametrize("stage", CALLS)


def break_at(stage: str, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let a stage fail for what is cursed."""
    module, name, item_of = CALLS[stage]
    real = getattr(module, name)

    def cursed(*given: Any) -> Any:
        if item_of(*given).id.startswith("cursed"):
            raise error
        return real(*given)

    patch.setattr(module, name, cursed)


def assert_neighbours_unharmed(site: Installation) -> None:
    announced = site.announced()
    for event in NEIGHBOURS:
        assert event.item.ref in announced
    assert_settled(site)


@at_each_stage
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_an_event_that_fails_by_our_fault_is_given_up_and_its_neighbours_are_not(
    stage: str, max_attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at(stage, monkeypatch, ValueError("a bug"))
    site = Installation(Limits(max_attempts=max_attempts))
    site.handle(*EVENTS)
    headers = site.letter_of(CURSED)
    assert headers["x-kmworker-reason"] == "internal"
    assert headers["x-kmworker-attempts"] == max_attempts
    assert headers["x-kmworker-event-id"] == "event-volume-cursed"
    assert headers["x-kmworker-event-type"] == "volume-created"
    assert_neighbours_unharmed(site)
    assert site.reasons() == {"": "malformed", "event-volume-cursed": "internal"}


@at_each_stage
def test_a_permanent_error_is_a_dead_letter_at_once_with_its_own_reason(
    site: Installation, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at(
        stage, monkeypatch, PermanentError(Reason.INTEGRITY, "a record of volume:cursed is broken")
    )
    site.handle(*EVENTS)
    headers = site.letter_of(CURSED)
    assert headers["x-kmworker-reason"] == "integrity"
    assert headers["x-kmworker-detail"] == "a record of volume:cursed is broken"
    assert headers["x-kmworker-attempts"] == 1
    assert_neighbours_unharmed(site)


@at_each_stage
def test_a_fault_that_passes_costs_the_event_nothing(
    site: Installation, process: Process, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish(*EVENTS)
    with monkeypatch.context() as patch:
        break_at(stage, patch, ValueError("a bug"))
        process.turn(3)
    process.run()
    assert "volume:cursed" in site.announced()
    assert site.reasons() == {"": "malformed"}
    assert_neighbours_unharmed(site)


def test_a_project_whose_keys_are_of_the_wrong_type_harms_no_other(site: Installation) -> None:
    site.redis.set(site.names.of("p2", "holders"), "not a hash")
    site.handle(*EVENTS)
    assert site.letter_of(NEIGHBOURS[3])["x-kmworker-reason"] == "integrity"
    assert "volume:c" in site.announced()
    assert "volume:cursed" in site.announced()
    assert_settled(site)


def test_waiting_rooms_of_the_wrong_type_stop_nobody(site: Installation) -> None:
    site.handle(snapshot("late", "none", project="p2"))
    site.redis.set(site.names.of("p2", "waiting:deadlines"), "not a sorted set")
    site.let_pass(100)
    site.handle(volume("a"), volume("none", project="p2"), volume("b"))
    assert set(site.announced()) == {"volume:a", "volume:b"}
    assert site.broker.is_settled


def test_totals_of_the_wrong_type_do_not_repeat_dead_letters(site: Installation) -> None:
    site.redis.set(site.names.top("dead"), "not a hash")
    site.handle(*EVENTS)
    assert len(site.letters) == 1
    assert_neighbours_unharmed(site)


def test_an_orphaned_scope_is_an_integrity_matter_and_is_never_minted_over() -> None:
    site = Installation()
    site.handle(volume("v"), partition_replica("4711@a", "4711"))
    scopes = site.redis.hgetall(site.names.of("p1", "deks"))
    site.redis.delete(site.names.of("p1", "items"))
    again = (volume("v"), partition_replica("4711@b", "4711"), volume("w"))
    site.handle(*again)
    for event in again[:2]:
        assert site.letter_of(event)["x-kmworker-reason"] == "integrity"
    assert scopes.items() <= site.redis.hgetall(site.names.of("p1", "deks")).items()
    assert "volume:w" in site.announced()


def break_letters_with_reply_to(patch: pytest.MonkeyPatch) -> None:
    def cursed(original: Any, *args: Any, **headers: Any) -> Any:
        if "reply_to" in original.properties:
            raise TypeError("a bug")
        return dead_letter(original, *args, **headers)

    patch.setattr(stages, "dead_letter", cursed)


def test_a_letter_whose_properties_cannot_be_published_goes_without_them(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_letters_with_reply_to(monkeypatch)
    site.publish(garbage("with"), reply_to="somebody")
    site.handle(volume("v"), garbage("without"))
    assert {letter.body for letter in site.letters} == {b"with", b"without"}
    assert_settled(site)


def test_a_letter_that_loses_its_properties_keeps_whose_event_it_is(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_letters_with_reply_to(monkeypatch)
    site.handle(garbage("with"), reply_to="somebody", user_id="cinder", correlation_id="c-1")
    (letter,) = site.letters
    assert site.letter_of(garbage("with"))["x-kmworker-user"] == "cinder"
    # All that stood beside it is gone.
    assert not {"reply_to", "correlation_id"} & set(letter.properties)


def test_what_fails_when_it_is_settled_is_written_again_behind_the_batch_that_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_letters_with_reply_to(monkeypatch)
    site = Installation(Limits(batch_max=2))
    site.publish(garbage("with"), reply_to="somebody")
    early, *next_batch = snapshot("s", "late"), volume("a"), volume("b")
    site.publish(early, *next_batch)
    # Were they counted in another order, the store would seem to have been rolled back.
    site.process().run()
    assert site.redis.hget(site.names.top("commits"), "incident") is None
    site.handle(volume("late"))
    assert set(site.announced()) == {"volume:a", "volume:b", "volume:late", "snapshot:s"}
    assert_settled(site)


@pytest.mark.parametrize("error", [ValueError("a bug"), Crash()], ids=["bug", "crash"])
def test_what_went_ahead_of_a_half_that_never_went_is_counted(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Installation(Limits(max_attempts=1))
    process = site.process()
    # Each project's share is a half.
    site.publish(volume("ahead", project="p0"), CURSED)
    with monkeypatch.context() as patch:
        break_at("commit", patch, error)
        if isinstance(error, Crash):
            process.run_into_crash()
        else:
            process.run()
    assert site.record(Item("p0", Kind.VOLUME, "ahead")) is not None
    assert site.redis.get(site.names.of("p0", "commits")) == b"1"


def test_a_dead_letter_that_cannot_be_published_at_all_stays_with_the_broker(
    site: Installation, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any, **_headers: Any) -> Any:
        raise TypeError("a bug")

    site.publish(garbage())
    with monkeypatch.context() as patch:
        patch.setattr(stages, "dead_letter", broken)
        process.turn(5)
        assert not site.broker.is_settled
    site.let_pass(60)
    process.run()
    assert [letter.body for letter in site.letters] == [garbage().body]
    assert_settled(site)


def test_between_the_tries_of_an_event_that_fails_there_are_pauses_that_grow(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def cursed(*_known: Any) -> Any:
        tries.append(site.clock.monotonic())
        raise ValueError("a bug")

    monkeypatch.setattr(planner, "decide", cursed)
    site.handle(CURSED)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert len(pauses) == 4
    assert 0.2 < pauses[0] < 1.0
    assert 3.0 < sum(pauses) < 10.0
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(pauses))
    assert site.letter_of(CURSED)["x-kmworker-attempts"] == 5
    assert_settled(site)


def test_while_an_event_pauses_all_others_flow_on_and_nothing_is_tried_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_at("plan", monkeypatch, ValueError("a bug"))
    site = Installation(Limits(batch_max=4))
    site.publish(*(garbage(f"bad {number}") for number in range(3)), CURSED)
    process = site.process()
    # As many as to be sure that nothing is still to come of what went wrong.
    process.turn(12)
    assert process.paused == 1
    assert not process.worker._pipeline.can_go_on
    began, slept_s = site.clock.monotonic(), site.clock.slept_s
    others = [volume(f"v{number}") for number in range(60)]
    site.publish(*others)
    while len(site.announced()) < len(others):
        process.turn()
    assert site.clock.monotonic() == began
    assert site.clock.slept_s == slept_s
    assert process.tally.totals["failures"] == 0
    process.run()
    assert site.reasons()["event-volume-cursed"] == "internal"
    assert_settled(site)


def test_what_was_delivered_before_does_not_wait_for_what_pauses(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at("plan", monkeypatch, ValueError("a bug"))
    site.publish(CURSED)
    process, other = site.process(), site.process()
    process.turn(3)
    assert process.paused == 1
    process.host.hold()
    site.publish(*NEIGHBOURS)
    other.turn()
    other.die()
    process.host.hold(False)
    began = site.clock.monotonic()
    while len(site.announced()) < len(NEIGHBOURS) + 1:
        process.turn()
    assert site.clock.monotonic() - began < 0.5


@pytest.mark.parametrize("of_its_source", ["comes", "never comes"])
def test_a_waiting_event_that_pauses_stays_taken_and_no_try_is_counted_for_it(
    of_its_source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Installation(Limits(sweep_s=0.1, waiting_deadline_s=5.0))
    site.publish(volume("cursed", Item("p1", Kind.VOLUME, "late")))
    process = site.process()
    process.turn(2)
    break_at("plan", monkeypatch, ValueError("a bug"))
    if of_its_source == "comes":
        site.publish(volume("late"))
    else:
        site.let_pass(5.0)
    while not process.paused:
        process.turn()
    swept = process.troubles.counts()["store.sweep"]
    for _ in range(30):
        # The sweep comes across it again and again meanwhile.
        site.let_pass(0.1)
        process.turn()
        assert process.paused == 1
        (entry,) = site.waiting().values()
        assert entry["attempts"] <= 2
    assert process.troubles.counts()["store.sweep"] > swept + 3
    process.run()
    assert site.reasons() == {"event-volume-cursed": "internal"}
    assert len(site.letters) == 1
    assert_settled(site)


@pytest.mark.parametrize("at_end", ["in order", "killed"])
def test_nobody_stops_later_for_what_pauses_and_it_comes_again(
    site: Installation, process: Process, at_end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish(CURSED, volume("v"))
    with monkeypatch.context() as patch:
        break_at("plan", patch, ValueError("a bug"))
        process.turn(3)
        assert process.paused == 1
        ended = site.clock.monotonic()
        if at_end == "in order":
            process.worker.stop()
            process.worker.run()
        else:
            process.die()
        assert site.clock.monotonic() == ended
    assert not site.broker.is_settled
    site.process().run()
    assert set(site.announced()) == {"volume:cursed", "volume:v"}
    assert not site.letters
    assert_settled(site)


@pytest.mark.parametrize("link", [Links.CONSUMER, Links.PUBLISHER, Links.BOTH])
def test_what_pauses_when_the_broker_goes_comes_again_once(
    site: Installation, process: Process, link: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish(CURSED)
    with monkeypatch.context() as patch:
        break_at("plan", patch, ValueError("a bug"))
        process.turn(3)
        assert process.paused == 1
    process.host.cut(link)
    site.publish(volume("v"))
    process.turn(3)
    assert process.paused == (0 if Links.CONSUMER in link else process.paused)
    process.run()
    assert {ref: len(bodies) for ref, bodies in site.announced().items()} == {
        "volume:cursed": 1,
        "volume:v": 1,
    }
    assert_settled(site)


def test_of_many_that_fail_only_so_many_pause_and_what_does_not_fail_gets_past_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_at("plan", monkeypatch, ValueError("a bug"))
    site = Installation(Limits(batch_max=8))
    site.publish(*(volume(f"cursed-{number}") for number in range(80)), volume("v"))
    process = site.process()
    began = site.clock.monotonic()
    most = 0
    while "volume:v" not in site.announced():
        process.turn()
        most = max(most, process.paused)
    assert most == 8
    assert site.clock.monotonic() - began < 3.0
    process.run()
    attempts = {it.headers["x-kmworker-attempts"] for it in site.letters}
    assert attempts == {5}
    assert len(site.letters) == 80
    assert_settled(site)


def test_an_event_that_ends_the_connection_pauses_too_and_is_then_alone(site: Installation) -> None:
    names = site.broker.topology
    ends: list[float] = []

    def abhors(frame: Publish) -> bool:
        is_it = frame.exchange == names.assignments and b"odd" in frame.body
        if is_it:
            ends.append(site.clock.monotonic())
        return is_it

    site.broker.abhors = abhors
    site.publish(volume("a"), volume("odd"))
    process = site.process()
    while not process.paused:
        process.turn()
    failures = process.tally.totals["failures"]
    while not site.letters:
        site.publish(volume("a"))
        process.turn()
        site.let_pass(0.1)
    assert process.tally.totals["failures"] == failures
    assert ends[-1] - ends[-2] > 1.0
    assert site.reasons() == {"event-volume-odd": "internal"}
    process.run()
    assert site.broker.is_settled


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ScriptFailed("a script failed: attempt to index a nil value"), "attempt to index a nil"),
        (ValueError("canary"), "ValueError at "),
    ],
    ids=["ours", "another's"],
)
def test_what_an_event_failed_of_is_logged_each_time(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at("plan", monkeypatch, error)
    told = io.StringIO()
    configure_logs("info", "json", told)
    try:
        site = Installation(Limits(max_attempts=3))
        site.handle(CURSED, volume("v"))
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    failed = [line for line in lines if "fail" in line["event"]]
    assert [line["event"] for line in failed] == [
        "batch failed, splitting it",
        "event failed",
        "event failed",
        "event failed for the last time",
    ]
    for line in failed:
        assert said in line["error"]
    assert "test_isolate.py" in failed[1]["error"] or said != "ValueError at "
    assert "canary" not in told.getvalue()
    assert [line.get("again_in_s") for line in failed[1:3]] == [0.2, 0.5]


def test_what_is_logged_of_an_event_is_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    break_at("plan", monkeypatch, ValueError("canary in a bug"))
    told = io.StringIO()
    configure_logs("debug", "json", told)
    try:
        site = Installation(Limits(max_attempts=2))
        cursed = volume("cursed", volume_type="canary", extra={"note": "canary"})
        site.publish(cursed, volume("v", extra={"note": "canary"}), garbage("canary"))
        site.handle(snapshot("s", "absent", extra={"note": "canary"}), correlation_id="canary")
    finally:
        structlog.reset_defaults()
    assert site.reasons()["event-volume-cursed"] == "internal"
    assert "event-volume-cursed" in told.getvalue()
    assert "canary" not in told.getvalue()
