"""What large messages cost: a worker's memory, and that of a command, do not follow them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import amqp
import pytest

from kmworker.settings import Settings
from tests.integration.bus.conftest import Producer
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ

MEBIBYTE = 1024 * 1024
LARGE = b"x" * 16 * MEBIBYTE
MANY = 30
GROWTH_MOST_BYTES = 40 * MEBIBYTE
# A command takes 64 MiB before it has looked at any letter; two of these held are more than this.
COMMAND_MOST_BYTES = 96 * MEBIBYTE


@pytest.fixture(scope="session")
def rabbitmq(roomy_rabbitmq: RabbitMQ) -> RabbitMQ:
    """A broker that takes larger messages than the shipped settings let through."""
    return roomy_rabbitmq


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "KMWORKER_BROKER__URL": str(settings.broker.url),
        "KMWORKER_BROKER__NAMESPACE": settings.broker.namespace,
        "KMWORKER_STORE__URL": str(settings.store.url),
        "KMWORKER_STORE__PREFIX": settings.store.prefix,
        "KMWORKER_KEYRING__PATH": str(settings.keyring.path),
    }


@contextmanager
def worker(settings: Settings) -> Iterator[int]:
    """Run a worker as a process of its own; give its number."""
    command = [sys.executable, "-m", "kmworker", "worker"]
    with subprocess.Popen(command, env=environment(settings)) as process:  # ours
        try:
            yield process.pid
        finally:
            process.terminate()


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def count(producer: Producer, queue: str) -> int:
    try:
        with producer.connection.channel() as channel:
            number: int = channel.queue_declare(queue, passive=True).message_count
    except amqp.NotFound:
        return -1
    return number


def test_a_worker_does_not_grow_with_the_bodies_that_it_is_sent(
    settings: Settings, producer: Producer
) -> None:
    names = producer.topology
    with worker(settings) as pid:
        producer.publish(b"small")
        until(lambda: count(producer, names.dead) == 1, "the first letter comes")
        before = peak_bytes(pid)
        for _ in range(MANY):
            producer.publish(LARGE)
        until(lambda: count(producer, names.dead) == MANY + 1, "each has a letter")
        grown = peak_bytes(pid) - before
    assert grown < GROWTH_MOST_BYTES


def test_looking_at_large_letters_takes_no_more_than_looking_at_small_ones(
    settings: Settings, producer: Producer, rabbitmq: RabbitMQ, namespace: str
) -> None:
    names = producer.topology
    environ = environment(settings)
    environ["KMWORKER_BROKER__URL"] = rabbitmq.url_of("operator", namespace)
    ours = {"x-kmworker-reason": "malformed", "x-kmworker-routing-key": "volume-created"}
    for _ in range(MANY):
        # As version 0.1 wrote them.
        producer.channel.basic_publish(
            amqp.Message(LARGE, application_headers=ours), names.dead, "malformed.unknown"
        )
    for words, code in ((["list"], 0), (["show", "0" * 12], 1), (["replay", "--all"], 1)):
        # Also those that the command before has put back.
        until(lambda: count(producer, names.dead) == MANY, "the letters are there")
        ended = subprocess.run(  # ours
            [sys.executable, "-c", PEAK, *words],
            env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == code, ended.stderr
        peak = int(ended.stderr.splitlines()[-1])
        assert peak < COMMAND_MOST_BYTES
        if words == ["list"]:
            assert "larger than an event may be" in ended.stdout
        if words == ["replay", "--all"]:
            assert f"{MANY} dead letters cannot be replayed" in ended.stderr
    assert count(producer, names.dead) == MANY


# Runs the command, and says last how much memory it took at most. Not by getrusage: its figure
# survives exec, so what the tests' own process had taken would be the least of it.
PEAK = """
import sys
from pathlib import Path
from kmworker.cli import main
sys.argv = ["kmworker", "dead", *sys.argv[1:]]
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    print(int(line.split()[1]) * 1024, file=sys.stderr)
"""
