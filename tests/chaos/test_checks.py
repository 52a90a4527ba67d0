"""The checks that all of this rests on find a worker that loses an event.

That they find whatever is wrong with a store, an announcement or a letter is tried without servers,
in tests/simulation/test_checker.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.outside.history import history
from tests.kit.outside.stage import scene, send
from tests.kit.outside.words import Event, Item
from tests.kit.outside.worker import Site, working
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer

PROJECT = "checked"
VOLUME = Item(PROJECT, "volume", "v")
PATIENCE_S = 60.0


@pytest.fixture
def site(
    rabbitmq: RabbitMQ, redis_server: StoreServer, namespace: str, prefix: str, tmp_path: Path
) -> Site:
    it = Site(tmp_path, rabbitmq, redis_server, namespace, prefix)
    it.lay_keyring()
    return it


def test_a_worker_that_acknowledges_first_is_found_out(site: Site) -> None:
    told = history([Event(VOLUME, "1", "/test"), Event(Item(PROJECT, "volume", "w"), "2", "/test")])
    command = [sys.executable, "-m", "tests.chaos.careless_worker"]
    log = site.folder / "careless.log"
    with log.open("wb") as out:
        careless = subprocess.Popen(command, env=site.environment(), stdout=out, stderr=out)
    try:
        with scene(site, told) as played:
            lost, kept = played.history.first
            send(played, (lost,))
            careless.wait(PATIENCE_S)
            with working(site):
                send(played, (kept,))
                subject = f"{PROJECT}/volume:w"
                until(
                    lambda: subject in played.client.announced(),
                    "the other worker announces its event",
                    between=played.client.pump,
                )
            assert list(played.unsettled()) == [f"{VOLUME.subject} was not announced"]
    finally:
        careless.kill()
        careless.wait()
