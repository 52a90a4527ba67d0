"""A stuck worker is told from an idle one, on real servers."""

import json
import os
import signal
import time

from kmworker.store.made_anew import MADE_ANEW
from tests.kit.outside.client import Client
from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site, Worker, started
from tests.kit.polling import until
from tests.kit.servers import StoreServer


def verdict(site: Site, worker: Worker) -> tuple[int, str]:
    """Ask as a supervisor does that watches this process."""
    pid = str(worker.process.pid)
    done = site.run("health", "--pid", pid, "--stuck-after", "2", "--json", exit_code=None)
    found = json.loads(done.stdout)["workers"]
    return done.returncode, found[0]["verdict"] if found else "none"


def is_announced(client: Client) -> bool:
    client.pump()
    return bool(client.announced())


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


def test_a_dead_predecessor_with_the_same_number_is_not_taken_for_a_worker(
    site: Site, redis_server: StoreServer
) -> None:
    first = started(site)
    ((dead, _fields),) = site.reader.workers().items()
    first.kill()
    second = started(site)
    try:
        # As in a container, where each is process 1 of a host of the same name.
        raw = redis_server.admin()
        raw.hset(f"{site.prefix}:worker:{dead}", "pid", second.process.pid)
        os.kill(second.process.pid, signal.SIGSTOP)
        until(lambda: verdict(site, second) == (1, "stuck"), "it is seen to hang")
        raw.hset(f"{site.prefix}:worker:{dead}", "seen_at", time.time())
        raw.zadd(f"{site.prefix}:workers", {dead: time.time()})
        assert verdict(site, second) == (1, "stuck")
        found = json.loads(site.run("health", "--json", exit_code=None).stdout)["workers"]
        assert dead not in {it["worker"] for it in found}
    finally:
        second.kill()


def test_a_worker_that_serves_is_not_restarted_over_keys_of_another_type(
    site: Site, redis_server: StoreServer
) -> None:
    raw = redis_server.admin()
    keys = [f"{site.prefix}:{key}" for key in MADE_ANEW]
    worker = started(site)
    try:
        for key in keys:
            raw.delete(key)
            raw.set(key, b"\xff" + b"9" * 5000)
        assert verdict(site, worker)[0] == 0
        told = site.run("health").stderr
        shown = site.run("status").stdout
        looked_at = json.loads(site.run("doctor", "--json", exit_code=None).stdout)["checks"]
        (reports,) = (it for it in looked_at if it["check"] == "reports")
        for key in keys:
            assert f"{key} is a string, and should be a " in told
            assert f"{key} is a string, and should be a " in shown
            assert f"{key} is a string, and should be a " in reports["detail"]
        with site.client() as client:
            client.publish(said("volume-created", "e-v", "acme", volume_id="v"))
            until(lambda: is_announced(client), "the worker goes on")
        # What they are told to do.
        raw.delete(*keys)
        until(lambda: verdict(site, worker) == (0, "idle"), "it is seen to be well")
    finally:
        worker.kill()
