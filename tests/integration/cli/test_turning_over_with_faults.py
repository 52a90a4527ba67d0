"""A KEK is turned over while a store fails over, and beside a worker that sleeps through it."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.integration.cli.test_events import volume
from tests.integration.cli.turning import (
    WHY,
    bring,
    kek_ids_of_live,
    states,
    tell,
    turned_over,
    under,
)
from tests.integration.test_store_going_back import follow_hint
from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site, started, working
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, Start, StoreServer

P: Final = "p1"
REFUSED: Final = 2
ITEMS: Final = {"volume:v1", "volume:v2", "snapshot:s1"}


@pytest.fixture
def store(start_redis: Start[StoreServer]) -> StoreServer:
    return start_redis()


@pytest.fixture
def lonely(tmp_path: Path, rabbitmq: RabbitMQ, store: StoreServer, namespace: str) -> Site:
    """An installation with a store of its own, which can fail over."""
    site = Site(tmp_path, rabbitmq, store, namespace, "km")
    site.lay_keyring()
    return site


def office_of(site: Site, folder: Path) -> Site:
    folder.mkdir()
    shutil.copy2(site.keyring, folder / "keyring")
    return replace(site, folder=folder)


def snapshot(site: Site) -> None:
    """Have a snapshot of v1 taken, for which its records must be opened."""
    event = said("snapshot-taken", "e-s1", P, volume_id="v1", snapshot_id="s1")
    site.run("publish", "--file", "-", stdin=event.body.decode() + "\n")


def fail_over(store: StoreServer, replica: StoreServer) -> None:
    """Have a replica that has followed no more take over the address."""
    store.kill()
    with replica.admin() as raw:
        raw.config_set("port", store.port)


@pytest.mark.parametrize("retires", [False, True], ids=["rewrapped", "retired"])
def test_a_replica_from_before_the_rewrap_is_refused_or_used_in_safety(
    lonely: Site, store: StoreServer, start_redis: Start[StoreServer], tmp_path: Path, retires: bool
) -> None:
    replica = start_redis({"replicaof": f"127.0.0.1 {store.port}"})
    office = office_of(lonely, tmp_path / "office")
    with working(lonely) as (worker,):
        successor = worker
        tell(lonely, "v1", "v2")
        ((old, _state),) = states(office).items()
        new = turned_over(lonely, office, worker)
        with replica.admin() as raw:
            until(lambda: b'"term":2' in raw.hget("km:keyring", "states"), "the replica has all")
        replica.lead()
        office.run("rewrap")
        if retires:
            office.run("keyring", "retire", old, *WHY)
        fail_over(store, replica)
        snapshot(lonely)
        until(
            lambda: worker.process.poll() is not None or "snapshot:s1" in items(lonely),
            "it has ended or gone on",
        )
        if retires and worker.process.poll() is None:
            # It had not looked since then: the states that it has taken up are the replica's.
            assert under(lonely, old) >= {"volume:v1", "volume:v2"}
        if worker.process.poll() is not None:
            assert worker.ended() == REFUSED
            assert "snapshot:s1" not in items(lonely)
            with replica.admin() as raw:
                follow_hint(lonely, raw)
            successor = started(lonely)
        until(lambda: items(lonely) == ITEMS, "no event is lost")
        assert states(office) == {old: "known", new: "active"}
        # Written after that, it is under the active KEK alone.
        assert under(lonely, old) == {"volume:v1", "volume:v2"}
        office.run("rewrap")
        office.run("keyring", "retire", old, *WHY)
        assert under(lonely, old) == set()
        office.run("verify")
        successor.stop()


def activates(office: Site, kek_id: str) -> bool:
    done = office.run("keyring", "activate", kek_id, *WHY, exit_code=None)
    return done.returncode == 0


def items(site: Site) -> set[str]:
    return set(site.reader.table(P, "items"))


def test_a_worker_that_slept_through_it_writes_nothing_under_the_old_kek(
    site: Site, office: Site, tmp_path: Path
) -> None:
    # On a host of its own, whose file nobody has brought yet.
    other_host = office_of(site, tmp_path / "other")
    with working(site) as (awake,):
        sleeper = started(other_host)
        try:
            tell(site, "v1")
            ((old, _state),) = states(office).items()
            os.kill(sleeper.process.pid, signal.SIGSTOP)
            names = [f"asleep-{number}" for number in range(60)]
            # Some of these are delivered to the one that sleeps.
            site.run("publish", "--file", "-", stdin="".join(volume(name, P) for name in names))
            new = office.run("keyring", "add", *WHY).stdout.strip()
            bring(office, site)
            until(lambda: new in kek_ids_of_live(site), "the one awake has taken it up")
            until(lambda: activates(office, new), "the sleeper is not asked any more")
            until(lambda: "KEK active" in awake.log.read_text(), "it writes under it")
            office.run("rewrap")
            office.run("keyring", "retire", old, *WHY)
            os.kill(sleeper.process.pid, signal.SIGCONT)
            until(lambda: new in sleeper.log.read_text(), "it says what it lacks")
            tell(site, "v2")
            assert under(site, old) == set()
            bring(office, other_host)
            wanted = {f"volume:{name}" for name in names}
            until(lambda: items(site) >= wanted, "what it held is assigned")
            assert under(site, old) == set()
            assert sleeper.process.poll() is None
            office.run("verify")
            sleeper.stop()
        finally:
            sleeper.kill()
    assert site.run("dead", "list").stdout == ""
