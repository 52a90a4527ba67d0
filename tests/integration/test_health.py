"""A stuck worker is told from an idle one, on real servers."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import redis

from kmworker.crypto import Keyring
from tests.integration.outside.client import Client
from tests.integration.outside.words import Message
from tests.integration.outside.worker import Site, Worker, started
from tests.integration.polling import until
from tests.servers import RabbitMQ, StoreServer


@pytest.fixture
def site(
    tmp_path: Path, rabbitmq: RabbitMQ, redis_server: StoreServer, namespace: str, prefix: str
) -> Site:
    site = Site(tmp_path, rabbitmq.url, redis_server.url, namespace, prefix)
    site.run("keyring", "init")
    return site


def verdict(site: Site, worker: Worker) -> tuple[int, str]:
    """Ask as a supervisor does that watches this process."""
    pid = str(worker.process.pid)
    done = site.run("health", "--pid", pid, "--stuck-after", "2", "--json", exit_code=None)
    found = json.loads(done.stdout)["workers"]
    return done.returncode, found[0]["verdict"] if found else "none"


def is_announced(client: Client) -> bool:
    client.pump()
    return bool(client.announced())


def event(name: str, **data: object) -> Message:
    body = {
        "specversion": "1.0", "id": f"e-{name}", "source": "/test", "type": "volume-created",
        "data": {"project_id": "acme", "volume_id": name, **data},
    }  # fmt: skip
    return Message(json.dumps(body).encode(), "volume-created")


def test_an_idle_worker_is_well_one_that_hangs_is_not_and_one_that_has_ended_is_none(
    site: Site,
) -> None:
    worker = started(site)
    try:
        assert verdict(site, worker) == (0, "idle")
        assert site.run("health").returncode == 0
        os.kill(worker.process.pid, signal.SIGSTOP)
        until(lambda: verdict(site, worker) == (1, "stuck"), "it is seen to hang")
        os.kill(worker.process.pid, signal.SIGCONT)
        until(lambda: verdict(site, worker) == (0, "idle"), "it is seen to be back")
        worker.stop()
        assert verdict(site, worker) == (1, "none")
    finally:
        worker.kill()
        site.reader.forget()


def test_a_worker_that_takes_events_and_finishes_none_is_stuck(
    site: Site, tmp_path: Path, redis_server: StoreServer
) -> None:
    # Its source is under a KEK that this worker's keyring lacks: it may neither decide nor bury.
    old = tmp_path / "old"
    shutil.copy(site.keyring, old)
    newer = Keyring.generate(tmp_path / "newer")
    both = json.loads(old.read_text())
    both["keks"] |= json.loads((tmp_path / "newer").read_text())["keks"]
    site.keyring.write_text(json.dumps(both | {"active": newer.active}))
    worker = started(site)
    try:
        with site.client() as client:
            client.publish(event("v"))
            until(lambda: is_announced(client), "the source is announced")
        worker.stop()
        shutil.copy(old, site.keyring)
        raw = redis.Redis.from_url(redis_server.url)
        # As if that KEK had never been entered there: else the worker would not start.
        raw.hdel(f"{site.prefix}:keyring", f"check:{newer.active}")
        worker = started(site)
        with site.client() as client:
            client.publish(event("w", source={"kind": "volume", "id": "v"}))
            until(lambda: verdict(site, worker) == (1, "stuck"), "it is seen to be stuck")
            client.pump()
            assert client.letters == []
    finally:
        worker.kill()
        site.reader.forget()
