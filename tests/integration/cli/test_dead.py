"""``dead`` on real brokers: stopped at any moment, by anybody, nothing is lost."""

import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest

from kmworker.bootstrap.brokers import open_publisher
from kmworker.domain.decision import Refuse
from kmworker.domain.message import Original
from kmworker.errors import Reason
from kmworker.settings import BrokerSettings
from kmworker.wire.dead_letters.writing import dead_letter
from kmworker.wire.topology import Topology
from tests.integration.cli.running import started
from tests.integration.cli.terminal import Pipes
from tests.kit.outside.worker import STOP_S, Site, working
from tests.kit.polling import until
from tests.kit.servers import At, RabbitMQ, StoreServer

MANY: Final = 2000
PAGE_SIZE: Final = 100


class DeadLetters:
    """The broker of a site: a worker's dead letters, and what an administrator sees of them."""

    def __init__(self, site: Site, server: RabbitMQ) -> None:
        self._settings = BrokerSettings(url=site.broker_url("worker"), namespace=site.namespace)
        self._topology = Topology(site.namespace)
        self._connection = server.admin(site.namespace)
        self._connection.connect()
        self._channel: Any = self._connection.channel()

    def bury(self, count: int) -> list[str]:
        """Bury as many events, and return their ids."""
        ids = [f"event-{number:05}" for number in range(count)]
        publisher = open_publisher(self._settings, "tests")
        publisher.open()
        publisher.publish(
            [
                dead_letter(
                    Original(json.dumps({"id": it}).encode(), "volume-created", {}),
                    Refuse(Reason.CONFLICT, "why"),
                    exchange=self._topology.dead,
                    event_id=it,
                    event_type="volume-created",
                    dead_at="2026-11-23T16:00:00.000Z",
                    attempts=1,
                )
                for it in ids
            ]
        )
        publisher.close()
        until(lambda: self.ready() == count, "they are buried")
        return ids

    def ready(self, queue: str | None = None) -> int:
        name = queue or self._topology.dead
        count: int = self._channel.queue_declare(name, passive=True).message_count
        return count

    def events(self) -> int:
        return self.ready(self._topology.work)

    def alone(self) -> bool:
        """Whether nobody consumes the dead letters any more."""
        found = self._channel.queue_declare(self._topology.dead, passive=True)
        return not found.consumer_count

    def take(self, queue: str) -> Counter[str]:
        """Empty a queue, and count what was in it by event id."""
        found: Counter[str] = Counter()
        number, channel = self.ready(queue), self._connection.channel()
        channel.basic_consume(
            queue,
            no_ack=True,
            callback=lambda message: found.update([json.loads(message.body)["id"]]),
        )
        while found.total() < number:
            self._connection.drain_events(timeout=STOP_S)
        channel.close()
        return found

    def left(self) -> Counter[str]:
        until(self.alone, "whoever was stopped is gone")
        return self.take(self._topology.dead)

    def replayed(self) -> Counter[str]:
        return self.take(self._topology.work)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def dead_letters(site: Site, rabbitmq: RabbitMQ) -> Iterator[DeadLetters]:
    found = DeadLetters(site, rabbitmq)
    yield found
    found.close()


def stopped(command: Pipes, how: signal.Signals) -> int:
    command.process.send_signal(how)
    return command.process.wait(STOP_S)


# --- stopped in the middle -----------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_list_that_is_stopped_has_taken_nothing(
    site: Site, dead_letters: DeadLetters, how: signal.Signals
) -> None:
    ids = dead_letters.bury(MANY)
    with started(site, "dead", "list") as command:
        until(lambda: dead_letters.ready() < MANY, "it has begun")
        stopped(command, how)
    assert dead_letters.left() == Counter(ids)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_discarding_that_is_stopped_has_taken_some_and_left_all_others(
    site: Site, dead_letters: DeadLetters, how: signal.Signals
) -> None:
    ids = dead_letters.bury(MANY)
    with started(site, "dead", "discard", "--all", "--yes") as command:
        until(lambda: dead_letters.ready() < MANY, "it has begun")
        code = stopped(command, how)
        said = command.err.read_text()
    left = dead_letters.left()
    assert left <= Counter(ids)
    assert max(left.values(), default=1) == 1
    if code == 130:
        # It has told the truth, but for what was under way when it was stopped.
        gone = MANY - left.total()
        assert 0 <= gone - told(said) <= PAGE_SIZE


def told(said: str) -> int:
    """The number of settled dead letters in a message; 0 where there is none."""
    found = re.search(r"(?:discarded|replayed) ([\d,]+) dead letter", said)
    return 0 if found is None else int(found[1].replace(",", ""))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_replay_that_is_stopped_loses_no_event_and_repeats_few(
    site: Site, dead_letters: DeadLetters, how: signal.Signals
) -> None:
    ids = dead_letters.bury(MANY)
    with started(site, "dead", "replay", "--all") as command:
        until(lambda: dead_letters.events() > 0, "it has begun")
        code = stopped(command, how)
        said = command.err.read_text()
    until(dead_letters.alone, "it is gone")
    events, left = dead_letters.events(), dead_letters.ready()
    # What was confirmed and not yet acknowledged is there twice: a page at most.
    assert MANY <= events + left <= MANY + PAGE_SIZE
    if code == 130:
        assert 0 <= events - told(said) <= PAGE_SIZE
    if left:
        site.run("dead", "replay", "--all")
    assert dead_letters.left() == Counter()
    replayed = dead_letters.replayed()
    assert replayed.keys() == set(ids)
    assert replayed.total() == events + left


def test_two_operators_replay_at_once_and_every_event_comes(
    site: Site, dead_letters: DeadLetters
) -> None:
    ids = dead_letters.bury(MANY)
    with (
        started(site, "dead", "replay", "--all") as one,
        started(site, "dead", "replay", "--all") as two,
    ):
        assert (one.process.wait(STOP_S), two.process.wait(STOP_S)) == (0, 0)
        assert told(one.out.read_text()) + told(two.out.read_text()) == MANY
    assert dead_letters.left() == Counter()
    assert dead_letters.replayed() == Counter(ids)


# --- what is not there ---------------------------------------------------------------


@pytest.mark.parametrize("command", ["list", "replay --all"])
def test_a_broker_that_is_gone_and_names_that_are_missing_are_told_apart(
    bare_site: Site, command: str
) -> None:
    words = ("dead", *command.split())
    assert "a worker declares it" in bare_site.run(*words, exit_code=1).stderr
    for gone in ("amqp://guest:guest@127.0.0.1:1/", "redis://127.0.0.1:1/0"):
        replace(bare_site, broker=At(gone)).run(*words, exit_code=3)


# --- a worker beside -----------------------------------------------------------------


def test_a_replayed_event_dies_again_and_counts_or_is_assigned(
    site: Site, embedded_server: StoreServer
) -> None:
    """On streams, by a worker that gives a source no time."""
    hasty = {"KMWORKER_WAITING__DEADLINE_S": "1", "KMWORKER_WAITING__SWEEP_S": "0.2"}
    site = replace(site, broker=embedded_server, store=embedded_server, settings=hasty)
    fields = ("--set", "snapshot_id=s", "--set", "volume_id=v")

    def has_died(times: int) -> bool:
        return site.reader.fields("dead") == {"source-missing": str(times)}

    with working(site):
        site.run("publish", "snapshot-taken", "--project", "p1", "--id", "e1", *fields)
        for times in (1, 2):
            until(partial(has_died, times), f"it has died {times} times")
            (listed,) = json.loads(site.run("dead", "list", "--json").stdout)
            assert (listed["event_id"], listed["attempts"]) == ("e1", times)
            if times == 1:
                site.run("dead", "replay", "e1")
        site.run("publish", "volume-created", "--project", "p1", *fields[2:])
        until(lambda: site.reader.records("p1", "items").get("volume:v"), "the source is there")
        site.run("dead", "replay", "--reason", "source-missing")
        record = until(lambda: site.reader.records("p1", "items").get("snapshot:s"), "assigned")
        assert record["data"]["cause"]["id"] == "e1"
        assert json.loads(site.run("dead", "list", "--json").stdout) == []
