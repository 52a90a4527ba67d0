"""Is a worker's memory flat over a million events? Prints what it takes as it goes.

    python -m bench.soak --events 1000000

Private servers, one worker process; a third each of the events create, reuse and clone a key.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path

import redis

from bench.load import collections, outgoing
from kmworker.bus.link import Link
from kmworker.bus.publisher import Publisher
from kmworker.bus.topology import Topology
from kmworker.crypto import Keyring
from kmworker.settings import BrokerSettings
from tests.servers import RabbitMQ, StoreServer, redis_store

PORTION = 500
# As much as is published ahead of the worker: enough that it never waits.
BACKLOG_MOST = 10_000
SAMPLES = 10
PROJECTS = 100
POLL_S = 0.02


def main() -> None:
    """Run it and print a line for each tenth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    wanted = parser.parse_args().events
    with tempfile.TemporaryDirectory() as scratch, servers(Path(scratch)) as (rabbit, store):
        run(Path(scratch), rabbit, store, wanted)


@contextmanager
def servers(folder: Path) -> Iterator[tuple[RabbitMQ, StoreServer]]:
    """Start a broker and a store of our own."""
    with ExitStack() as stack:
        started = []
        for name, make in (("rabbit", RabbitMQ), ("store", redis_store)):
            (folder / name).mkdir()
            server = stack.enter_context(closing(make(folder / name)))
            server.start()
            started.append(server)
        yield started[0], started[1]


def run(folder: Path, rabbit: RabbitMQ, store: StoreServer, wanted: int) -> None:
    """Publish as fast as the worker takes it, and look at the worker."""
    settings = BrokerSettings(url=rabbit.url)
    topology = Topology(settings.namespace)
    client = redis.Redis(port=store.port, decode_responses=True)
    publisher = Publisher(Link(settings, "soak"), 60.0)
    worker = start_worker(folder, rabbit, store)
    try:
        while not client.zcard("km:workers"):
            time.sleep(POLL_S)
        publisher.open()
        hear_nothing(settings, topology)
        events = collections(wanted, PROJECTS, "soak")
        began, sent, next_sample = time.monotonic(), 0, 0
        print(f"{'events':>10} {'seconds':>8} {'events/s':>9} {'resident MB':>12} {'CPU us':>8}")
        while (done := handled(client)) < wanted:
            if sent - done < BACKLOG_MOST and (portion := list(islice(events, PORTION))):
                publisher.publish([outgoing(topology, *event) for event in portion])
                sent += len(portion)
            else:
                time.sleep(POLL_S)
            assert worker.poll() is None, "the worker has ended"
            if done >= next_sample:
                next_sample += wanted // SAMPLES
                report(worker.pid, done, time.monotonic() - began)
        report(worker.pid, done, time.monotonic() - began)
    finally:
        worker.terminate()
        worker.wait()
        publisher.close()


def start_worker(folder: Path, rabbit: RabbitMQ, store: StoreServer) -> "subprocess.Popen[bytes]":
    """Start the worker as it is run in production."""
    Keyring.generate(folder / "keyring.json")
    environment = {
        **os.environ,
        "KMWORKER_BROKER__URL": rabbit.url,
        "KMWORKER_STORE__URL": store.url,
        "KMWORKER_KEYRING__PATH": str(folder / "keyring.json"),
        "KMWORKER_LOG__LEVEL": "warning",
    }
    return subprocess.Popen([sys.executable, "-m", "kmworker", "worker"], env=environment)


def hear_nothing(settings: BrokerSettings, topology: Topology) -> None:
    """Bind a queue that keeps the latest only, so that assignments are routed and none pile up."""
    link = Link(settings, "soak")
    link.open()
    with link.errors():
        channel = link.connection.channel()
        limits = {"x-max-length": 1000}
        channel.queue_declare("soak", durable=True, auto_delete=False, arguments=limits)
        channel.queue_bind("soak", topology.assignments, "#")
    link.close()


def handled(client: "redis.Redis") -> int:
    """Return how many events have been handled, as of the worker's last report."""
    (worker_id, *_) = client.zrange("km:workers", 0, -1)
    counts = client.hmget(f"km:worker:{worker_id}", "create", "clone", "reuse", "repeat")
    return sum(int(count or 0) for count in counts)


def report(pid: int, done: int, seconds: float) -> None:
    """Print one line: what the worker has done, and what it takes."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (resident_kb,) = (int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    rate, cost = (done / seconds, 1e6 * cpu_s / done) if done else (0.0, 0.0)
    print(
        f"{done:>10,} {seconds:>8.0f} {rate:>9,.0f} {resident_kb / 1024:>12.1f} {cost:>8.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
