"""``dead`` on real brokers: stopped at any moment, by anybody, nothing is lost."""

import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from kmworker.bootstrap.brokers import open_publisher
from kmworker.domain.decision import Refuse
from kmworker.domain.message import Original
from kmworker.errors import Reason
from kmworker.settings import BrokerSettings
from kmworker.wire.dead_letters.writing import dead_letter
from kmworker.wire.topology import Topology
from tests.integration.cli.running import Command, on_a_terminal, started
from tests.kit.outside.wire import said
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


def stopped(command: Command, how: signal.Signals) -> int:
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


def test_a_list_whose_reader_leaves_has_taken_nothing(
    site: Site, dead_letters: DeadLetters
) -> None:
    ids = dead_letters.bury(PAGE_SIZE)
    with started(site, "dead", "list") as command:
        assert command.process.wait(STOP_S) == 0
    assert dead_letters.left() == Counter(ids)


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


def test_progress_is_shown_on_a_terminal(site: Site, dead_letters: DeadLetters) -> None:
    dead_letters.bury(MANY)
    shown = on_a_terminal(site, "dead", "replay", "--all")
    assert "looking through" in shown
    assert "replayed 2,000 dead letters: conflict 2,000" in shown


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


@pytest.fixture
def embedded(site: Site, embedded_server: StoreServer) -> Iterator[Site]:
    """A worker that gives a source no time, and the broker of the embedded mode.

    The outside client tells the same story on RabbitMQ.
    """
    settings = {"KMWORKER_WAITING__DEADLINE_S": "1", "KMWORKER_WAITING__SWEEP_S": "0.2"}
    chosen = replace(site, broker=embedded_server, store=embedded_server, settings=settings)
    with working(chosen):
        yield chosen


def dead(site: Site, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.run("dead", "list", "--json", *options).stdout)
    return found


def died(site: Site, number: int) -> None:
    """Wait until so many events have died."""
    until(
        lambda: site.reader.fields("dead").get("source-missing") == str(number),
        f"{number} dead letters",
    )


def test_a_replayed_event_dies_again_and_counts_or_is_assigned(embedded: Site) -> None:
    embedded.run(
        "publish", "snapshot-taken", "--project", "p1", "--id", "e1",
        "--set", "snapshot_id=s", "--set", "volume_id=v",
    )  # fmt: skip
    for attempts in (1, 2, 3):
        died(embedded, attempts)
        (listed,) = dead(embedded)
        assert (listed["event_id"], listed["attempts"]) == ("e1", attempts)
        if attempts < 3:
            done = embedded.run("dead", "replay", "e1", "--json")
            assert json.loads(done.stdout)["replayed"] == 1
    (shown,) = json.loads(embedded.run("dead", "show", "e1", "--json").stdout)
    assert json.loads(shown["body"])["data"] == {
        "project_id": "p1", "snapshot_id": "s", "volume_id": "v",
    }  # fmt: skip
    embedded.run("publish", "volume-created", "--project", "p1", "--set", "volume_id=v")
    until(lambda: embedded.reader.records("p1", "items").get("volume:v"), "the source is there")
    embedded.run("dead", "replay", "--reason", "source-missing")
    record = until(lambda: embedded.reader.records("p1", "items").get("snapshot:s"), "assigned")
    assert record["data"]["cause"]["id"] == "e1"
    assert dead(embedded) == []
    assert embedded.reader.fields("dead") == {"source-missing": "3"}


def test_a_dry_run_leaves_everything_as_it_is(embedded: Site) -> None:
    embedded.run("publish", "--file", "-", stdin=_orphans(3))
    died(embedded, 3)
    before = dead(embedded)
    for command in ("replay", "discard"):
        done = embedded.run("dead", command, "--all", "--dry-run")
        assert done.stdout == f"would {command} 3 dead letters: source-missing 3\n"
    assert sorted(map(str, dead(embedded))) == sorted(map(str, before))
    embedded.run("dead", "discard", "o1", "o2", "--yes")
    assert [listed["event_id"] for listed in dead(embedded)] == ["o0"]
    embedded.run("dead", "show", "o1", exit_code=1)


def _orphans(count: int) -> str:
    events = (
        said("snapshot-taken", f"o{number}", "p1", snapshot_id=f"s{number}", volume_id="gone")
        for number in range(count)
    )
    return "".join(event.body.decode() + "\n" for event in events)
