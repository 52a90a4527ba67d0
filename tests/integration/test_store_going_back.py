"""A store that went back in time is refused: a restored copy, a replica that lagged."""

import json
import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.integration.outside.client import Client
from tests.integration.outside.words import Message
from tests.integration.outside.worker import Site, Worker, started
from tests.integration.polling import until
from tests.servers import RabbitMQ, Start, StoreServer

REFUSED = 2
PROJECT = "acme"


@pytest.fixture
def store(start_redis: Start[StoreServer]) -> StoreServer:
    return start_redis()


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitMQ, store: StoreServer, namespace: str) -> Site:
    site = Site(tmp_path, rabbitmq.url, store.url, namespace, "km")
    site.run("keyring", "init")
    return site


@contextmanager
def working(site: Site, count: int = 1) -> Iterator[list[Worker]]:
    workers = [started(site) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()


def publish(client: Client, *names: str) -> None:
    for name in names:
        event = {
            "specversion": "1.0", "id": f"e-{name}", "source": "/test", "type": "volume-created",
            "data": {"project_id": PROJECT, "volume_id": name},
        }  # fmt: skip
        client.publish(Message(json.dumps(event).encode(), "volume-created"))


def await_assigned(client: Client, *names: str) -> None:
    wanted = {f"{PROJECT}/volume:{name}" for name in names}

    def all_are() -> bool:
        client.pump()
        return client.announced().keys() >= wanted

    until(all_are, f"{len(names)} volumes are announced")


def incident_in(worker: Worker) -> str:
    """Return the name of the incident that ended a worker."""
    assert worker.ended() == REFUSED
    lines = [json.loads(line) for line in worker.log.read_bytes().splitlines()]
    refusal = next(line for line in lines if line["event"] == "refused to work")
    assert "went back in time" in refusal["detail"]
    name = str(refusal["detail"].split()[1].rstrip(":"))
    assert f"kmworker accept {name}" in refusal["hint"]
    return name


def replace_by(store: StoreServer, copy: Path) -> None:
    """Put an older copy of its data in a server's place, as whoever restores a backup does."""
    store.kill()
    shutil.rmtree(store.folder / "appendonlydir")
    shutil.copytree(copy, store.folder / "appendonlydir")
    store.start()


def test_a_restored_copy_is_refused_by_who_starts_and_accepted_by_name(
    site: Site, store: StoreServer, tmp_path: Path
) -> None:
    with working(site) as (worker,), site.client() as client:
        publish(client, "v1")
        await_assigned(client, "v1")
        shutil.copytree(store.folder / "appendonlydir", tmp_path / "copy")
        publish(client, "v2")
        await_assigned(client, "v2")
        worker.stop()
        replace_by(store, tmp_path / "copy")
        incident = incident_in(Worker(site))
        assert incident_in(Worker(site)) == incident
        checks = json.loads(site.run("doctor", "--json", exit_code=1).stdout)["checks"]
        assert [it["check"] for it in checks if it["status"] == "failed"] == ["history"]
        assert "no incident other" in site.run("accept", "other", exit_code=1).stderr
        site.run("accept", incident)
        with working(site) as (another,):
            publish(client, "v3")
            await_assigned(client, "v3")
            another.stop()
        with working(site) as (last,):
            last.stop()


def test_the_newest_copy_is_no_incident(site: Site, store: StoreServer, tmp_path: Path) -> None:
    with working(site) as (worker,), site.client() as client:
        publish(client, "v1")
        await_assigned(client, "v1")
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
    with working(site) as (worker,), site.client() as client:
        publish(client, "v1")
        await_assigned(client, "v1")
        shutil.copytree(store.folder / "appendonlydir", tmp_path / "copy")
        publish(client, "v2")
        await_assigned(client, "v2")
        replace_by(store, tmp_path / "copy")
        publish(client, "v2")
        incident_in(worker)
        client.pump()
        assert len({body.body for body in client.assignments}) == 2


def test_an_emptied_store_is_refused(site: Site, store: StoreServer) -> None:
    with working(site) as (worker,), site.client() as client:
        publish(client, "v1")
        await_assigned(client, "v1")
        worker.stop()
        store.kill()
        shutil.rmtree(store.folder / "appendonlydir")
        store.start()
        incident_in(Worker(site))


def test_another_installation_on_the_same_names_is_not_taken_for_this_one(
    site: Site, store: StoreServer
) -> None:
    with working(site) as (worker,), site.client() as client:
        publish(client, "v1")
        await_assigned(client, "v1")
        worker.stop()
        store.kill()
        shutil.rmtree(store.folder / "appendonlydir")
        store.start()
        site.keyring.unlink()
        site.run("keyring", "init")
        with working(site) as (another,):
            assert b"of a store with other keys" in another.log.read_bytes()
            another.stop()


def test_a_lagging_replica_that_is_promoted_under_load_is_refused_by_all(
    site: Site, store: StoreServer, start_redis: Start[StoreServer]
) -> None:
    replica = start_redis({"replicaof": f"127.0.0.1 {store.port}"})
    raw = redis.Redis(port=replica.port)
    with working(site, 3) as workers, site.client() as client:
        publish(client, "first")
        await_assigned(client, "first")
        until(lambda: raw.hexists("km:{acme}:items", "volume:first"), "the replica has followed")
        assert replica._process is not None
        os.kill(replica._process.pid, signal.SIGSTOP)
        names = [f"v{number}" for number in range(300)]
        publish(client, *names[:200])
        await_assigned(client, *names[:200])
        made = int(redis.Redis(port=store.port).hget("km:commits", "number") or 0)
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
