"""A store that was rolled back is refused: a restored copy, a replica that lagged."""

import json
import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests.kit.outside.client import Client
from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site, Worker, started
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, Start, StoreServer

REFUSED = 2
PROJECT = "acme"


@pytest.fixture
def store(start_redis: Start[StoreServer]) -> StoreServer:
    return start_redis()


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitMQ, store: StoreServer, namespace: str) -> Site:
    site = Site(tmp_path, rabbitmq, store, namespace, "km")
    site.lay_keyring()
    return site


@contextmanager
def working(site: Site, count: int = 1) -> Iterator[list[Worker]]:
    workers = [started(site) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()


@contextmanager
def one_assigned(site: Site) -> Iterator[tuple[Worker, Client]]:
    """Give a worker that has assigned v1, and its producer."""
    with working(site) as (worker,), site.client() as client:
        assign(client, "v1")
        yield worker, client


def publish(client: Client, *names: str, project: str = PROJECT) -> None:
    for name in names:
        client.publish(said("volume-created", f"e-{name}", project, volume_id=name))


def await_assigned(client: Client, *names: str, project: str = PROJECT) -> None:
    client.await_announced([f"{project}/volume:{name}" for name in names])


def assign(client: Client, *names: str, project: str = PROJECT) -> None:
    publish(client, *names, project=project)
    await_assigned(client, *names, project=project)


def assigns(site: Site, client: Client, *names: str) -> None:
    """See that one more worker begins, assigns these and ends in good order."""
    with working(site) as (another,):
        assign(client, *names)
        another.stop()


def incident_in(worker: Worker) -> str:
    """Return the name of the incident that ended a worker."""
    assert worker.ended() == REFUSED
    lines = [json.loads(line) for line in worker.log.read_bytes().splitlines()]
    refusal = next(line for line in lines if line["event"] == "refused to work")
    assert "was rolled back" in refusal["detail"]
    name = str(refusal["detail"].split()[1].rstrip(":"))
    assert f"kmworker accept {name}" in refusal["hint"]
    return name


def follow_hint(site: Site, admin: redis.Redis) -> None:
    """Start a worker; where the store is refused, do what it says."""
    worker = Worker(site)
    until(lambda: worker.process.poll() or "broker connected" in worker.tail(), "it has begun")
    if worker.process.poll() is None:
        worker.stop()
    elif "does not hold a number" in worker.tail():
        assert "or delete it" in worker.tail()
        admin.delete("km:commits")
    else:
        site.run("accept", incident_in(worker))


def replace_by(store: StoreServer, copy: Path | None) -> None:
    """Put an older copy of its data in a server's place, as whoever restores a backup does."""
    store.kill()
    shutil.rmtree(store.folder / "appendonlydir")
    if copy is not None:
        shutil.copytree(copy, store.folder / "appendonlydir")
    store.start()


def refused_by_doctor(site: Site) -> list[str]:
    checks = json.loads(site.run("doctor", "--json", exit_code=1).stdout)["checks"]
    return [it["check"] for it in checks if it["status"] == "failed"]


def test_a_restored_copy_is_refused_by_who_starts_and_accepted_by_name(
    site: Site, store: StoreServer, tmp_path: Path
) -> None:
    with one_assigned(site) as (worker, client):
        shutil.copytree(store.folder / "appendonlydir", tmp_path / "copy")
        assign(client, "v2")
        worker.stop()
        replace_by(store, tmp_path / "copy")
        incident = incident_in(Worker(site))
        assert incident_in(Worker(site)) == incident
        assert refused_by_doctor(site) == ["history"]
        assert site.run("status").stdout.startswith(f"incident      {incident}: ")
        told = site.run("health", exit_code=1).stderr
        assert f"kmworker: incident {incident}: " in told
        assert "start one" not in told
        assert "no incident other" in site.run("accept", "other", exit_code=1).stderr
        site.run("accept", incident)
        assert "incident" not in site.run("status").stdout
        assigns(site, client, "v3")
        assigns(site, client)


@pytest.mark.parametrize("forged", [999_999_999_999_997, 400_000_000_000_000])
def test_a_forged_number_of_commits_is_got_out_of_by_what_the_hints_say(
    site: Site, store: StoreServer, forged: int
) -> None:
    with one_assigned(site) as (worker, client), store.admin() as admin:
        admin.hset("km:commits", "number", forged)
        # Its worker anchors what it finds, as far as that can be a number of commits.
        for name in ("v2", "v3", "v4"):
            publish(client, name)
        until(lambda: int(admin.hget("km:commits", "number")) > forged, "it counts on")
        worker.terminate()
        worker.ended()
        for _ in range(3):
            follow_hint(site, admin)
        assigns(site, client, "v2", "v3", "v4", "v5")
        assigns(site, client)


def test_the_newest_copy_is_no_incident(site: Site, store: StoreServer, tmp_path: Path) -> None:
    with one_assigned(site) as (worker, client):
        worker.stop()
        store.stop()
        shutil.copytree(store.folder / "appendonlydir", tmp_path / "copy")
        replace_by(store, tmp_path / "copy")
        with working(site) as (another,):
            publish(client, "v1")
            until(lambda: another.is_seen_by(site.reader), "it works")
            another.stop()
        client.pump()
        assert len({body.body for body in client.assignments}) == 1


def test_a_restored_copy_is_refused_by_a_worker_that_was_running(
    site: Site, store: StoreServer, tmp_path: Path
) -> None:
    with one_assigned(site) as (worker, client):
        shutil.copytree(store.folder / "appendonlydir", tmp_path / "copy")
        assign(client, "v2")
        replace_by(store, tmp_path / "copy")
        publish(client, "v2")
        incident_in(worker)
        client.pump()
        assert len({body.body for body in client.assignments}) == 2


def test_an_emptied_store_is_refused(site: Site, store: StoreServer) -> None:
    with one_assigned(site) as (worker, _client):
        worker.stop()
        replace_by(store, None)
        incident_in(Worker(site))


@pytest.mark.parametrize("lost", ["every project", "one project"])
def test_records_that_are_gone_while_the_count_of_all_is_there_are_missed(
    site: Site, store: StoreServer, lost: str
) -> None:
    """As by Redis 7.0 that may not run what it reads in its own files."""
    with working(site) as (worker,), site.client() as client:
        assign(client, "v1", "v2")
        assign(client, "o1", project="other")
        raw = store.admin()
        for project in ("acme", "other")[: 2 if lost == "every project" else 1]:
            raw.delete(*raw.keys(f"km*{{{project}}}*"))
        # The worker that wrote them, when it looks again, and those that start after it.
        raw.client_kill_filter(_type="normal", skipme=True)
        publish(client, "v3")
        incident = incident_in(worker)
        assert incident_in(Worker(site)) == incident
        assert refused_by_doctor(site) == ["history"]
        assert "commits-lost" in site.run("verify", exit_code=1).stdout
        site.run("accept", incident)
        with working(site) as (another,):
            await_assigned(client, "v3")
            another.stop()
        site.run("verify")


def test_what_only_others_wrote_is_missed_by_a_worker_that_starts_without_an_anchor(
    site: Site, store: StoreServer
) -> None:
    with one_assigned(site) as (worker, _client):
        worker.stop()
    raw = store.admin()
    raw.delete(*raw.keys("km*{acme}*"))
    # On another namespace of the broker there is no anchor of this store.
    incident_in(Worker(replace(site, namespace=f"{site.namespace}x")))


def test_another_installation_on_the_same_names_is_not_taken_for_this_one(
    site: Site, store: StoreServer
) -> None:
    with one_assigned(site) as (worker, _client):
        worker.stop()
        replace_by(store, None)
        site.keyring.unlink()
        site.run("keyring", "init")
        with working(site) as (another,):
            assert b"of a store with other keys" in another.log.read_bytes()
            another.stop()


def test_a_lagging_replica_that_is_promoted_under_load_is_refused_by_all(
    site: Site, store: StoreServer, start_redis: Start[StoreServer]
) -> None:
    replica = start_redis({"replicaof": f"127.0.0.1 {store.port}"})
    raw = replica.admin()
    with working(site, 3) as workers, site.client() as client:
        assign(client, "first")
        until(lambda: raw.hexists("km:{acme}:items", "volume:first"), "the replica has followed")
        assert replica._process is not None
        os.kill(replica._process.pid, signal.SIGSTOP)
        names = [f"v{number}" for number in range(300)]
        assign(client, *names[:200])
        made = int(store.admin().hget("km:commits", "number") or 0)
        publish(client, *names[200:])
        store.kill()
        # Before it wakes, so that it is promoted before it has read what lies in its socket.
        promotion = raw.connection_pool.get_connection()
        promotion.send_command("REPLICAOF", "NO", "ONE")
        os.kill(replica._process.pid, signal.SIGCONT)
        assert promotion.read_response() == b"OK"
        raw.connection_pool.release(promotion)
        assert int(raw.hget("km:commits", "number") or 0) < made
        # It takes over the address, as a failover does.
        raw.config_set("port", store.port)
        assert len({incident_in(worker) for worker in workers}) == 1
        client.pump()
    keys = defaultdict(set)
    for delivery in client.assignments:
        data = delivery.parsed()["data"]
        keys[data["item"]["id"]].add(data["key_id"])
    assert {name for name, found in keys.items() if len(found) != 1} == set()
