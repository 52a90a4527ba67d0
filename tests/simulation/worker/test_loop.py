"""How a worker's run begins and ends, and what makes it pause in between."""

import json

import pytest

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.keks import KekStates, KekStep
from kmworker.domain.keys import Operator
from kmworker.errors import SetupError, StoreUnavailable
from kmworker.store.inspection import Views
from kmworker.store.kek_register import KekRegister
from kmworker.worker.loop import KEYRING_S
from kmworker.worker.stages import Milestone
from tests.kit.simulator.checks import assert_all_assigned, assert_settled
from tests.kit.simulator.events import snapshot, volume
from tests.kit.simulator.installation import SIMULATED, Installation, Limits, Process
from tests.kit.simulator.troubles import Lost

BY = Operator("test", "a test")


def stop_at(process: Process, step: Milestone) -> None:
    def stepped(reached: Milestone) -> None:
        if reached is step:
            process.worker.stop()

    process.stages._on_milestone = stepped


@pytest.mark.parametrize("step", list(Milestone))
def test_a_stop_takes_no_more_events_and_finishes_those_at_hand(step: Milestone) -> None:
    site = Installation(Limits(batch_max=2))
    process = site.process()
    # Later than its first sweep.
    process.turn()
    site.publish(volume("a"), volume("b"), volume("c"), volume("d"), volume("e"))
    stop_at(process, step)
    process.worker.run()
    # Those that were received while the first batch was written are at hand, too.
    ahead = (
        {"volume:c", "volume:d"}
        if step in {Milestone.COMMIT, Milestone.ANNOUNCE, Milestone.SETTLE}
        else set()
    )
    assert set(site.announced()) == {"volume:a", "volume:b"} | ahead
    # What was sent ahead and not taken goes back at once.
    returned = [message.delivery_count for message in site.broker.work.ready]
    assert returned == [1] * (3 - len(ahead))
    site.process().run()
    assert_settled(site)


def test_an_idle_worker_stops_at_once(site: Installation, process: Process) -> None:
    process.run()
    assert site.clock.slept_s == 0
    assert site.redis.hget(site.names.worker("worker-1"), "state") == b"stopped"


def test_a_stop_finishes_what_waited_for_a_source_at_hand_and_takes_nothing_with_it() -> None:
    site = Installation(Limits(batch_max=2))
    early = [snapshot(f"s{number}", "v") for number in range(5)]
    site.handle(*early)
    site.publish(volume("v"), volume("w"), volume("later"))
    process = site.process()
    stop_at(process, Milestone.RECEIVE)
    process.worker.run()
    assert "volume:later" not in site.announced()
    site.process().run()
    assert_all_assigned(site, volume("v"), volume("w"), volume("later"), *early)


@pytest.mark.parametrize(("times", "comes_back"), [(4, True), (1000, False)])
def test_a_stop_waits_for_a_server_to_come_back_and_not_beyond_its_deadline(
    site: Installation, process: Process, times: int, comes_back: bool
) -> None:
    site.publish(volume("v"))
    process.worker._jitter = lambda _least, most: most
    process.troubles.at("store.commit result", StoreUnavailable("gone"), times=times)
    stop_at(process, Milestone.PLAN)
    process.worker.run()
    if comes_back:
        assert process.troubles.over()
    else:
        assert site.clock.slept_s == pytest.approx(site.limits.stop_deadline_s, abs=0.2)
        site.process().run()
    assert_all_assigned(site, volume("v"))


def test_a_second_stop_does_not_extend_the_deadline(site: Installation, process: Process) -> None:
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
def test_a_setup_error_ends_the_run(site: Installation, process: Process, point: str) -> None:
    site.publish(volume("v"))
    process.troubles.at(point, SetupError("not like this", "do that"))
    with pytest.raises(SetupError, match="not like this"):
        process.worker.run()
    assert not site.announcements
    site.process().run()
    assert_all_assigned(site, volume("v"))


def test_the_store_is_admitted_again_after_each_failure_of_its_own() -> None:
    """It may be another server now, and not durable, or not ours."""
    site = Installation()
    site.publish(volume("v"))
    process = site.process()
    process.troubles.at("store.commit", StoreUnavailable("gone"))
    process.troubles.at("store.admit", SetupError("another store"), skip=1)
    with pytest.raises(SetupError):
        process.worker.run()


@pytest.mark.parametrize("point", ["bus.open", "bus.send", "bus.receive", "bus.anchor"])
def test_a_failure_of_the_broker_costs_the_store_no_look_at_all_projects(point: str) -> None:
    site = Installation()
    site.publish(volume("v"))
    process = site.process()
    process.troubles.at(point, Lost(), times=3)
    process.run()
    assert process.tally.totals["failures"] == 3
    assert process.troubles.counts()["store.admit"] == 1
    assert_all_assigned(site, volume("v"))


def test_a_store_that_is_behind_what_another_broker_kept_is_refused_after_a_failure() -> None:
    site = Installation()
    site.publish(volume("v"))
    process = site.process()
    process.turn(3)
    (body,) = site.broker.anchors
    site.broker.anchors = [json.dumps(json.loads(body) | {"commits": 99}).encode()]
    process.host.cut()
    with pytest.raises(SetupError, match="of 99 commits it has 1"):
        process.run()


def test_what_others_have_anchored_meanwhile_costs_no_look_at_all_projects() -> None:
    site = Installation()
    process, other = site.process(), site.process()
    process.turn(2)
    process.host.hold()
    site.publish(volume("v"))
    other.turn(2)
    site.publish(volume("w"))
    other.run()
    process.host.hold(False)
    process.host.cut()
    read = process.host.steps.taken
    before = len(read)
    process.run()
    assert process.tally.totals["failures"] >= 1
    # As a look at all would take; of chains of endings some are looked at all the time.
    assert "store.mget" not in {step.name for step in read[before:]}
    assert json.loads(site.broker.anchors[0])["commits"] == 2


def test_announcements_carry_the_source_that_the_store_remembers(site: Installation) -> None:
    site.first_source = "/first"
    site.store().admit()
    site.first_source = "/second"
    site.handle(volume("w"))
    (body,) = site.announced()["volume:w"]
    assert b'"source":"/first"' in body


def test_a_worker_that_lacks_the_active_kek_waits_and_goes_on_when_its_file_has_it() -> None:
    site = Installation()
    both, newer = site.keyring, site.next_kek
    site.keyring = Keyring(both.newest, {both.newest: both.keks[both.newest]})
    site.handle(volume("v"), snapshot("waits", "late"))
    process = site.process()
    process.turn()
    register = KekRegister(Views(site.redis, site.names), KeyringCustody(both, SIMULATED))
    for what in (KekStep.ADD, KekStep.ACTIVATE):
        assert isinstance(register.step(newer, what, BY), KekStates)
    site.let_pass(KEYRING_S)
    process.turn(9)
    assert process.tally.last_error.startswith(f"UnknownKek: the active KEK {newer}")
    site.publish(snapshot("s", "v"), volume("late"))
    process.turn(20)
    assert "volume:late" not in site.announced()
    assert not site.letters
    site.keyring_files.append(both)
    process.run()
    site.keyring = both
    site.let_pass(site.limits.sweep_s)
    site.process().run()
    assert_all_assigned(
        site, volume("v"), snapshot("s", "v"), volume("late"), snapshot("waits", "late")
    )
    assert newer.encode() in site.redis.hget(site.names.of("p1", "items"), "volume:late")


def test_a_record_under_a_kek_that_nobody_has_stops_no_other_event(site: Installation) -> None:
    site.handle(volume("v"))
    key, kek_id = site.names.of("p1", "items"), site.custody.kek_id.encode()
    record = site.redis.hget(key, "volume:v")
    site.redis.hset(key, "volume:v", record.replace(kek_id, b"0" * 16))
    site.handle(snapshot("s", "v"), volume("w"))
    assert "volume:w" in site.announced()
    assert site.letter_of(snapshot("s", "v"))["x-kmworker-reason"] == "integrity"
