"""How a worker's run begins and ends, and what makes it pause in between."""

from typing import Any

import pytest

from kmworker.crypto import Keyring, KeyringVault
from kmworker.crypto.kek import Kek
from kmworker.errors import SetupError, StoreUnavailable
from kmworker.path import Step
from tests.simulation.checks import assert_all_assigned, assert_settled
from tests.simulation.events import snapshot, volume
from tests.simulation.installation import Installation, Limits, Process
from tests.simulation.troubles import Lost


def stop_at(process: Process, step: Step) -> None:
    def stepped(reached: Step) -> None:
        if reached is step:
            process.worker.stop()

    process.path._on_step = stepped


@pytest.mark.parametrize("step", list(Step))
def test_a_stop_takes_no_more_events_and_finishes_those_at_hand(step: Step) -> None:
    site = Installation(Limits(batch_max=2))
    site.publish(volume("a"), volume("b"), volume("c"), volume("d"), volume("e"))
    process = site.process()
    stop_at(process, step)
    process.worker.run()
    # Those that were received while the first batch was written are at hand, too.
    ahead = {"volume:c", "volume:d"} if step in {Step.COMMIT, Step.ANNOUNCE, Step.SETTLE} else set()
    assert set(site.announced()) == {"volume:a", "volume:b"} | ahead
    # What was sent ahead and not taken goes back at once.
    returned = [message.delivery_count for message in site.broker.work.ready]
    assert returned == [1] * (3 - len(ahead))
    site.process().run()
    assert_settled(site)


def test_an_idle_worker_stops_at_once() -> None:
    site = Installation()
    process = site.process()
    process.run()
    assert site.clock.slept_s == 0
    assert site.redis.hget(site.names.worker("worker-1"), "state") == b"stopped"


def test_a_stop_finishes_what_waited_for_a_source_at_hand_and_takes_nothing_with_it() -> None:
    site = Installation(Limits(batch_max=2))
    early = [snapshot(f"s{number}", "v") for number in range(5)]
    site.publish(*early)
    site.process().run()
    site.publish(volume("v"), volume("w"), volume("later"))
    process = site.process()
    stop_at(process, Step.RECEIVE)
    process.worker.run()
    assert "volume:later" not in site.announced()
    site.process().run()
    assert_all_assigned(site, volume("v"), volume("w"), volume("later"), *early)


def test_a_stop_waits_for_servers_to_come_back() -> None:
    site = Installation()
    site.publish(volume("v"))
    process = site.process()
    process.worker._jitter = lambda _least, most: most
    process.troubles.at("store.commit", StoreUnavailable("gone"), times=4)
    stop_at(process, Step.PLAN)
    process.worker.run()
    assert_all_assigned(site, volume("v"))


def test_a_stop_does_not_wait_beyond_its_deadline() -> None:
    site = Installation()
    site.publish(volume("v"))
    process = site.process()
    process.worker._jitter = lambda _least, most: most
    process.troubles.at("store.commit", StoreUnavailable("gone"), times=1000)
    stop_at(process, Step.PLAN)
    process.worker.run()
    assert site.clock.slept_s == pytest.approx(site.limits.stop_deadline_s, abs=0.2)
    site.process().run()
    assert_all_assigned(site, volume("v"))


def test_a_second_stop_does_not_extend_the_deadline() -> None:
    site = Installation()
    process = site.process()
    process.worker.stop()
    site.clock.advance(5)
    process.worker.stop()
    assert process.worker._stop_by == site.clock.monotonic() + site.limits.stop_deadline_s - 5


def test_a_worker_that_cannot_reach_anything_stops_all_the_same() -> None:
    site = Installation()
    process = site.process()
    process.worker._jitter = lambda _least, most: most
    process.troubles.at("store.admit", StoreUnavailable("gone"), times=1000)
    process.troubles.at("reports.write", StoreUnavailable("gone"), times=1000)

    def stop_in_time(_point: str) -> None:
        if site.clock.slept_s > 10:
            process.worker.stop()

    process.troubles.at_each = stop_in_time
    process.worker.run()
    assert site.clock.slept_s < 20


@pytest.mark.parametrize("point", ["store.admit", "bus.open"])
def test_a_setup_error_ends_the_run(point: str) -> None:
    site = Installation()
    site.publish(volume("v"))
    process = site.process()
    process.troubles.at(point, SetupError("not like this", "do that"))
    with pytest.raises(SetupError, match="not like this"):
        process.worker.run()
    assert not site.announcements
    site.process().run()
    assert_all_assigned(site, volume("v"))


def test_the_store_is_admitted_again_after_each_failure() -> None:
    """It may be another server now, and not durable, or not ours."""
    site = Installation()
    site.publish(volume("v"))
    process = site.process()
    process.troubles.at("bus.send", Lost())
    process.troubles.at("store.admit", SetupError("another store"), skip=1)
    with pytest.raises(SetupError):
        process.worker.run()


def test_announcements_carry_the_source_that_the_store_remembers() -> None:
    site = Installation()
    site.publish(volume("v"))
    site.process().run()
    site.redis.hset(site.names.top("keyring"), "source", "/first")
    site.redis.hdel(site.names.top("keyring"), *_checks(site))
    site.publish(volume("w"))
    site.process().run()
    (body,) = site.announced()["volume:w"]
    assert b'"source":"/first"' in body


def test_a_record_under_an_unknown_kek_pauses_the_worker_and_is_never_dead_lettered() -> None:
    site = Installation()
    ours = site.vault
    newer = Kek(b"n" * 32, "2026-11-23T16:00:00Z")
    both = Keyring(
        newer.kek_id, {newer.kek_id: newer, ours.kek_id: ours._keyring.keks[ours.kek_id]}
    )
    site.vault = KeyringVault(both)
    site.publish(volume("v"), snapshot("waits", "late"))
    site.process().run()
    # As if it had written without registering its KEK.
    site.redis.hdel(site.names.top("keyring"), f"check:{newer.kek_id}")
    site.vault = ours
    site.publish(snapshot("s", "v"), volume("late"))
    process = site.process()
    process.turn(20)
    assert process.tally.last_error.startswith("UnknownKek")
    assert not site.letters
    assert set(site.announced()) <= {"volume:v", "volume:late"}
    process.die()
    site.vault = KeyringVault(both)
    site.process().run()
    site.let_pass(site.limits.sweep_s)
    site.process().run()
    assert_all_assigned(
        site, volume("v"), snapshot("s", "v"), volume("late"), snapshot("waits", "late")
    )


def _checks(site: Installation) -> list[Any]:
    fields = site.redis.hkeys(site.names.top("keyring"))
    return [field for field in fields if field.startswith(b"check:")]
