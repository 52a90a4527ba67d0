"""Faults of our own: the one event that meets them is given up, and no other suffers for it."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from kmworker import batch, path
from kmworker.announcement import announce
from kmworker.dead_letters import dead_letter
from kmworker.decision import decide
from kmworker.errors import PermanentError, Reason
from kmworker.events import Event
from kmworker.logs import configure_logs
from kmworker.model import Item, Kind
from kmworker.store import writes
from kmworker.store.records import encode_write
from tests.simulation.checks import assert_settled
from tests.simulation.events import Sent, garbage, partition_replica, snapshot, volume
from tests.simulation.installation import Installation, Limits
from tests.simulation.steps import Crash

CURSED = Item("p1", Kind.VOLUME, "cursed")
NEIGHBOURS = (
    volume("a"),
    snapshot("s", "a"),
    partition_replica("4711@obj-07", "4711"),
    volume("b", project="p2"),
    volume("c"),
)
EVENTS = (*NEIGHBOURS[:2], volume("cursed"), *NEIGHBOURS[2:], garbage())

Break = Callable[[pytest.MonkeyPatch, BaseException], None]


def break_decide(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    def cursed(event: Event, *known: Any) -> Any:
        if event.item == CURSED:
            raise error
        return decide(event, *known)

    patch.setattr(batch, "decide", cursed)


def break_store(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    def cursed(codec: Any, vault: Any, write: Any) -> Any:
        if write.assignment.item == CURSED:
            raise error
        return encode_write(codec, vault, write)

    patch.setattr(writes, "encode_write", cursed)


def break_announce(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    def cursed(held: Any, source: str, exchange: str) -> Any:
        if held.assignment.item == CURSED:
            raise error
        return announce(held, source, exchange)

    patch.setattr(path, "announce", cursed)


def assert_neighbours_unharmed(site: Installation) -> None:
    announced = site.announced()
    for event in NEIGHBOURS:
        assert event.item.ref in announced
    assert_settled(site)


def letter_of(site: Installation, event: Sent) -> dict[str, Any]:
    (letter,) = [letter for letter in site.letters if letter.body == event.body]
    headers: dict[str, Any] = letter.properties["application_headers"]
    return headers


breaks = pytest.mark.parametrize(
    "break_it", [break_decide, break_store, break_announce], ids=["plan", "commit", "announce"]
)


@breaks
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_an_event_that_fails_by_our_fault_is_given_up_and_its_neighbours_are_not(
    break_it: Break, max_attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch, ValueError("a bug"))
    site = Installation(Limits(max_attempts=max_attempts))
    process = site.process()
    site.publish(*EVENTS)
    process.run()
    headers = letter_of(site, volume("cursed"))
    assert headers["x-kmworker-reason"] == "internal"
    assert headers["x-kmworker-attempts"] == max_attempts
    assert headers["x-kmworker-event-id"] == "event-volume-cursed"
    assert headers["x-kmworker-event-type"] == "volume-created"
    assert_neighbours_unharmed(site)
    assert site.reasons() == {"": "malformed", "event-volume-cursed": "internal"}


@breaks
def test_a_permanent_error_is_a_dead_letter_at_once_with_its_own_reason(
    break_it: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch, PermanentError(Reason.INTEGRITY, "a record of volume:cursed is broken"))
    site = Installation()
    site.publish(*EVENTS)
    site.process().run()
    headers = letter_of(site, volume("cursed"))
    assert headers["x-kmworker-reason"] == "integrity"
    assert headers["x-kmworker-detail"] == "a record of volume:cursed is broken"
    assert headers["x-kmworker-attempts"] == 1
    assert_neighbours_unharmed(site)


@breaks
def test_a_fault_that_passes_costs_the_event_nothing(
    break_it: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Installation()
    site.publish(*EVENTS)
    process = site.process()
    with monkeypatch.context() as patch:
        break_it(patch, ValueError("a bug"))
        process.turn(3)
    process.run()
    assert "volume:cursed" in site.announced()
    assert site.reasons() == {"": "malformed"}
    assert_neighbours_unharmed(site)


def test_a_project_whose_keys_are_of_the_wrong_type_harms_no_other() -> None:
    site = Installation()
    site.redis.set(site.names.of("p2", "holders"), "not a hash")
    site.publish(*EVENTS)
    site.process().run()
    assert letter_of(site, NEIGHBOURS[3])["x-kmworker-reason"] == "integrity"
    assert "volume:c" in site.announced()
    assert "volume:cursed" in site.announced()
    assert_settled(site)


def test_waiting_rooms_of_the_wrong_type_stop_nobody() -> None:
    site = Installation()
    site.publish(snapshot("late", "none", project="p2"))
    site.process().run()
    site.redis.set(site.names.of("p2", "waiting:deadlines"), "not a sorted set")
    site.let_pass(100)
    site.publish(volume("a"), volume("none", project="p2"), volume("b"))
    site.process().run()
    assert set(site.announced()) == {"volume:a", "volume:b"}
    assert site.broker.is_settled


def test_totals_of_the_wrong_type_do_not_repeat_dead_letters() -> None:
    site = Installation()
    site.redis.set(site.names.top("dead"), "not a hash")
    site.publish(*EVENTS)
    site.process().run()
    assert len(site.letters) == 1
    assert_neighbours_unharmed(site)


def test_an_orphaned_scope_is_an_integrity_matter_and_is_never_minted_over() -> None:
    site = Installation()
    site.publish(volume("v"), partition_replica("4711@a", "4711"))
    site.process().run()
    scopes = site.redis.hgetall(site.names.of("p1", "deks"))
    site.redis.delete(site.names.of("p1", "items"))
    again = (volume("v"), partition_replica("4711@b", "4711"), volume("w"))
    site.publish(*again)
    site.process().run()
    for event in again[:2]:
        assert letter_of(site, event)["x-kmworker-reason"] == "integrity"
    assert scopes.items() <= site.redis.hgetall(site.names.of("p1", "deks")).items()
    assert "volume:w" in site.announced()


def break_letters_with_reply_to(patch: pytest.MonkeyPatch) -> None:
    def cursed(original: Any, *args: Any, **headers: Any) -> Any:
        if "reply_to" in original.properties:
            raise TypeError("a bug")
        return dead_letter(original, *args, **headers)

    patch.setattr(path, "dead_letter", cursed)


def test_a_letter_whose_properties_cannot_be_published_goes_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_letters_with_reply_to(monkeypatch)
    site = Installation()
    site.publish(garbage("with"), reply_to="somebody")
    site.publish(volume("v"), garbage("without"))
    site.process().run()
    assert {letter.body for letter in site.letters} == {b"with", b"without"}
    assert_settled(site)


def test_what_fails_when_it_is_settled_is_written_again_behind_the_batch_that_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_letters_with_reply_to(monkeypatch)
    site = Installation(Limits(batch_max=2))
    site.publish(garbage("with"), reply_to="somebody")
    early, *next_batch = snapshot("s", "late"), volume("a"), volume("b")
    site.publish(early, *next_batch)
    # Were they counted in another order, the store would seem to have gone back in time.
    site.process().run()
    assert site.redis.hget(site.names.top("commits"), "incident") is None
    site.publish(volume("late"))
    site.process().run()
    assert set(site.announced()) == {"volume:a", "volume:b", "volume:late", "snapshot:s"}
    assert_settled(site)


@pytest.mark.parametrize("error", [ValueError("a bug"), Crash()], ids=["bug", "crash"])
def test_what_went_ahead_of_a_half_that_never_went_is_counted(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Installation(Limits(max_attempts=1))
    process = site.process()
    # Each project's share is a half.
    site.publish(volume("ahead", project="p0"), volume("cursed"))
    with monkeypatch.context() as patch:
        break_store(patch, error)
        if isinstance(error, Crash):
            process.run_into_crash()
        else:
            process.run()
    assert site.record(Item("p0", Kind.VOLUME, "ahead")) is not None
    assert int(site.redis.hget(site.names.top("commits"), "number") or 0) == 1


def test_a_dead_letter_that_cannot_be_published_at_all_stays_with_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_args: Any, **_headers: Any) -> Any:
        raise TypeError("a bug")

    site = Installation()
    site.publish(garbage())
    process = site.process()
    with monkeypatch.context() as patch:
        patch.setattr(path, "dead_letter", broken)
        process.turn(5)
        assert not site.broker.is_settled
    process.run()
    assert [letter.body for letter in site.letters] == [garbage().body]
    assert_settled(site)


def test_what_is_logged_of_an_event_is_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    break_decide(monkeypatch, ValueError("canary in a bug"))
    told = io.StringIO()
    configure_logs("debug", "json", told)
    try:
        site = Installation(Limits(max_attempts=2))
        cursed = volume("cursed", volume_type="canary", note="canary")
        site.publish(cursed, volume("v", note="canary"), garbage("canary"))
        site.publish(snapshot("s", "absent", note="canary"), correlation_id="canary")
        site.process().run()
    finally:
        structlog.reset_defaults()
    assert site.reasons()["event-volume-cursed"] == "internal"
    assert "event-volume-cursed" in told.getvalue()
    assert "canary" not in told.getvalue()
