"""The product itself under the shipped accounts: a worker's day, then everybody else's."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel

from tests.integration.privilege.accounts import Broker, Installation, Taken, take
from tests.integration.privilege.broker_acts import ASSIGNMENTS, AUDIT, DEAD, EVENTS, WORK
from tests.kit.outside.wire import plain
from tests.kit.outside.words import Event, Item, Message
from tests.kit.outside.worker import Worker, program
from tests.kit.polling import until
from tests.kit.servers import At

# Which store there is makes no difference to these.
of_the_broker = pytest.mark.parametrize("store", ["redis"], indirect=True, scope="package")

QUEUE: Final = "kmworker.sub.jobs"
PROJECT: Final = "p1"

VOLUME, CLONE = Item(PROJECT, "volume", "v"), Item(PROJECT, "volume", "w")
EARLY, SUSPECT = Item(PROJECT, "snapshot", "early"), Item(PROJECT, "volume", "suspect")
REPLICA, ORPHAN = Item(PROJECT, "replica", "r@h"), Item(PROJECT, "snapshot", "orphan")


def _event(item: Item, source: Item | None = None) -> Message:
    node = "h" if item.kind == "replica" else None
    return plain(Event(item, f"event-{item.id}", "/tests", source, node=node))


EVENTS_OF_THE_DAY: Final = (
    _event(EARLY, VOLUME),
    _event(VOLUME),
    _event(CLONE, EARLY),
    _event(REPLICA, Item(PROJECT, "partition", "x")),
    _event(VOLUME),
    # Its source never comes.
    _event(ORPHAN, Item(PROJECT, "volume", "nowhere")),
    Message(b"neither JSON nor CloudEvent", "volume-created"),
)
ITEMS: Final = {
    "volume:v",
    "volume:w",
    "snapshot:early",
    "replica:r@h",
    "partition:x",
    "volume:suspect",
}


@dataclass(frozen=True, slots=True)
class Day:
    """What a worker's day has left behind."""

    installation: Installation
    heard: Mapping[str, dict[str, Any]]
    """Announcements by item ref, as the subscriber got them."""
    letters: list[Taken]
    """Dead letters, as the operator found them."""
    denials: list[Mapping[str, Any]]
    """What the store has refused to anyone."""
    log: str
    """All that the worker has said."""
    used: set[str]
    """The commands that the store has run."""


@pytest.fixture(scope="package")
def day(installation: Installation) -> Day:
    """A worker from its start to its end, with everything that it can meet."""
    store, broker = installation.store, installation.broker
    with store.administrator() as client:
        client.config_resetstat()
    store.denials()
    settings = ("KMWORKER_WAITING__DEADLINE_S=2", "KMWORKER_WAITING__SWEEP_S=0.2")
    with broker.connect("subscriber") as connection:
        listening = connection.channel()
        listening.queue_declare(QUEUE, exclusive=True)
        listening.queue_bind(QUEUE, ASSIGNMENTS, "key-assigned.#")
        produce(broker, _event(SUSPECT))
        drop_on_the_floor(broker, times=2)
        worker = Worker(installation.site("worker", "worker", settings))
        try:
            produce(broker, *EVENTS_OF_THE_DAY)
            heard: dict[str, dict[str, Any]] = {}
            until(lambda: _listen(listening, heard) >= ITEMS, "all is assigned", within_s=60)
            counts = {"malformed": "1", "source-missing": "1"}
            until(lambda: installation.reader.fields("dead") == counts, "both letters are counted")
            until(lambda: _total(installation) == len(ITEMS), "the totals are counted")
            worker.stop()
        except BaseException as error:
            error.add_note(worker.tail())
            raise
        finally:
            worker.kill()
    with store.administrator() as client:
        statistics: Any = client.info("commandstats")
    used = {name.removeprefix("cmdstat_") for name in statistics}
    with broker.connect("operator") as connection:
        channel = connection.channel()
        letters = list(iter(lambda: take(channel, DEAD), None))
    return Day(installation, heard, letters, store.denials(), worker.log.read_text(), used)


def produce(broker: Broker, *messages: Message) -> None:
    """Publish as a producer does."""
    with broker.connect("producer") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for message in messages:
            properties = BasicProperties(content_type=message.content_type, delivery_mode=2)
            channel.basic_publish(
                EVENTS, message.routing_key, message.body, properties, mandatory=True
            )


def drop_on_the_floor(broker: Broker, times: int) -> None:
    """Take the next event as a worker and end without a word, as often as this."""
    for _ in range(times):
        with broker.connect("worker") as connection:
            basic_get = connection.channel().basic_get
            until(partial(_is_got, basic_get), "the event is there again")


def _is_got(basic_get: Callable[[str], tuple[Any, Any, Any]]) -> bool:
    method, _properties, _body = basic_get(WORK)
    return method is not None


def _listen(channel: BlockingChannel, heard: dict[str, dict[str, Any]]) -> set[str]:
    while (message := take(channel, QUEUE)) is not None:
        announcement = json.loads(message.body)
        item = announcement["data"]["item"]
        heard[f"{item['kind']}:{item['id']}"] = announcement
    return set(heard)


def _total(installation: Installation) -> int:
    return int(installation.reader.fields("totals").get("items", 0))


def test_a_worker_makes_assignments_of_events_and_letters_of_the_rest(day: Day) -> None:
    assert set(day.heard) == ITEMS
    assert {letter.headers["x-kmworker-reason"] for letter in day.letters} == {
        "malformed",
        "source-missing",
    }


def test_nobody_meets_the_limits_of_an_account_in_doing_its_job(day: Day) -> None:
    refused = {(entry["username"], entry["context"], entry["object"]) for entry in day.denials}
    assert refused == set()
    # What scripts ask for before they write is refused without a note.
    assert "the store refuses" not in day.log
    assert "ACCESS_REFUSED" not in day.log


def test_a_worker_may_call_nothing_that_it_never_calls(day: Day) -> None:
    rarely = {
        "time",  # by `kmworker doctor`, which is run with a worker's accounts
        "zrevrange",  # as well
        "hsetnx",  # when a KEK has been added to the keyring
        "rpush",  # when an attachment ends
    }
    assert day.installation.store.permitted("worker") - day.used <= rarely


def test_a_dashboard_sees_it_all(day: Day) -> None:
    reader = day.installation.reader
    assert reader.fields("queues")["work"] is not None
    assert reader.fields("totals")["computed_at"] is not None
    assert reader.workers()
    assert reader.stream("feed")
    assert reader.stream("minutes")
    with day.installation.store.client("dashboard") as client:
        for ref in ITEMS:
            assert client.hget(f"km:{{{PROJECT}}}:items", ref)
        scope = day.heard["volume:v"]["data"]["scope_id"]
        lineage: Any = client.zrangebylex(
            f"km:{{{PROJECT}}}:lineage", f"[{scope} ", f"({scope}!", start=0, num=10
        )
    assert {member.decode().split()[1] for member in lineage} == {
        "volume:v",
        "volume:w",
        "snapshot:early",
    }


@pytest.mark.parametrize(
    "command",
    [
        "status", "show snapshot:early", "waiting list", "list projects", "list items",
        "list projects --waiting", "list items --project p1 --state active", "list keys",
    ],
)  # fmt: skip
def test_a_dashboards_account_is_enough_to_look(day: Day, command: str) -> None:
    day.installation.store.denials()
    day.installation.site("dashboard", "producer").run(*command.split())
    assert day.installation.store.denials() == []


def test_the_doctor_finds_nothing_that_a_worker_lacks(day: Day) -> None:
    done = day.installation.site("worker", "worker").run("doctor", "--json")
    statuses = {check["check"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    # What is in effect no worker's account can see; see test_management.
    assert statuses.pop("policies") in {"not checked", "warning"}
    # The shipped policy lists none.
    assert statuses.pop("producers") == "warning"
    assert set(statuses.values()) == {"ok"}, done.stdout


def test_a_key_operator_exports_a_dek_and_a_dashboard_does_not(day: Day, tmp_path: Path) -> None:
    key_id = day.heard["volume:v"]["data"]["key_id"]
    path = tmp_path / "dek"
    command = ("key", "export", key_id, "--project", PROJECT, "--output", str(path))
    refused = day.installation.site("dashboard", "operator").run(*command, exit_code=None)
    assert refused.returncode != 0
    assert not path.exists()
    # Who could not have recorded it has no key.
    refused = day.installation.site("key-operator", "auditor").run(*command, exit_code=3)
    assert "nothing was done" in refused.stderr
    assert not path.exists()
    day.installation.site("key-operator", "recorder").run(*command)
    assert len(path.read_bytes()) == 64
    with day.installation.broker.connect("auditor") as connection:
        channel = connection.channel()
        (record,) = iter(lambda: take(channel, AUDIT), None)
    assert json.loads(record.body)["data"]["key_id"] == key_id


def test_a_key_operator_verifies_the_store_and_repairs_nothing(day: Day) -> None:
    day.installation.store.denials()
    site = day.installation.site("key-operator", "operator")
    done = site.run("verify", "--json")
    assert json.loads(done.stdout)["complete"], done.stdout
    assert done.stderr == ""
    assert day.installation.store.denials() == []
    with _drifted(day):
        refused = site.run("verify", "--repair", exit_code=2)
        assert "the store refuses" in refused.stderr
        assert "kmworker verify --repair needs the store's account repairer" in refused.stderr


def test_a_repairer_puts_counters_and_indexes_right(day: Day) -> None:
    with _drifted(day):
        day.installation.store.denials()
        site = day.installation.site("repairer", "operator")
        done = site.run("verify", "--repair", "--json")
        *findings, summary = map(json.loads, done.stdout.splitlines())
        assert {it["problem"] for it in findings} == {
            "holders-wrong", "lineage-wrong", "project-unlisted", "stats-wrong",
        }  # fmt: skip
        assert summary["findings"] == summary["repaired"] == len(findings)
        site.run("verify")
        assert day.installation.store.denials() == []


@pytest.mark.parametrize("user", ["worker", "dashboard"])
def test_others_cannot_verify(day: Day, user: str) -> None:
    refused = day.installation.site(user, "operator").run("verify", exit_code=2)
    assert "the store refuses" in refused.stderr
    assert "kmworker verify needs the store's account key-operator" in refused.stderr
    day.installation.store.denials()


@contextmanager
def _drifted(day: Day) -> Iterator[None]:
    """Spoil counters and indexes, and bring back what they were."""
    names = [f"km:{{{PROJECT}}}:{key}" for key in ("holders", "lineage", "stats")]
    with day.installation.store.administrator() as client:
        before = {name: client.dump(name) for name in [*names, "km:projects"]}
        client.hincrby(names[2], "create", 5)
        client.hset(names[0], "k", 3)
        client.zadd(names[1], {"s volume:x": 0})
        client.srem("km:projects", PROJECT)
        try:
            yield
        finally:
            for name, payload in before.items():
                assert payload is not None
                client.restore(name, 0, payload, replace=True)


def test_an_operator_announces_again_and_watches(day: Day) -> None:
    site = day.installation.site("dashboard", "operator")
    with subprocess.Popen(
        [*program(), "watch", "--json", "--count", "1"],
        env=site.environment("watch"),
        cwd=site.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        try:
            assert watching.stderr is not None
            assert "listening" in watching.stderr.readline()
            site.run("announce", "--project", PROJECT, "volume:w")
            seen, complaints = watching.communicate(timeout=60)
        finally:
            watching.kill()
    assert json.loads(seen) == day.heard["volume:w"], complaints


LETTERS_HEADERS: Final[dict[str, Any]] = {
    "x-kmworker-reason": "conflict",
    "x-kmworker-routing-key": "volume-created",
    "x-kmworker-attempts": 1,
}


def bury(broker: Broker, *ids: str) -> None:
    """Publish dead letters as a worker does."""
    with broker.connect("worker") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for event_id in ids:
            body = json.dumps({"id": event_id}).encode()
            properties = BasicProperties(headers=LETTERS_HEADERS, delivery_mode=2)
            channel.basic_publish(DEAD, "conflict.volume-created", body, properties)


@of_the_broker
def test_an_operator_handles_dead_letters_by_command_and_needs_no_store(day: Day) -> None:
    site = day.installation.site("worker", "operator")
    site = replace(site, store=At("redis://none.invalid"))
    bury(day.installation.broker, "one", "two", "three")
    listed = site.run("dead", "list", "--json")
    assert {it["event_id"] for it in json.loads(listed.stdout)} == {"one", "two", "three"}
    site.run("dead", "show", "one")
    site.run("dead", "replay", "one", "two")
    site.run("dead", "discard", "three")
    with day.installation.broker.connect("worker") as connection:
        channel = connection.channel()
        events = [take(channel, WORK), take(channel, WORK)]
    assert [json.loads(event.body)["id"] for event in events if event is not None] == ["one", "two"]
    assert site.run("dead", "list", "--json").stdout == "[]\n"


@of_the_broker
@pytest.mark.parametrize("user", ["producer", "worker", "subscriber"])
def test_nobody_else_handles_dead_letters(day: Day, user: str) -> None:
    done = day.installation.site("worker", user).run("dead", "list", exit_code=2)
    assert "ACCESS_REFUSED" in done.stderr
    assert f"refused for user '{user}'" in done.stderr
    assert "kmworker dead list needs the broker's account operator" in done.stderr


@of_the_broker
@pytest.mark.parametrize("command", ["replay", "discard"])
def test_nobody_else_takes_dead_letters_away(day: Day, command: str) -> None:
    bury(day.installation.broker, "kept")
    site = day.installation.site("worker", "worker")
    done = site.run("dead", command, "--all", *["--yes"] * (command == "discard"), exit_code=2)
    assert "refused for user 'worker'" in done.stderr
    assert f"kmworker dead {command} needs the broker's account operator" in done.stderr
    day.installation.site("worker", "operator").run("dead", "discard", "kept")


@of_the_broker
def test_a_producer_that_may_not_publish_a_type_is_told_who_may(day: Day) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "volume-renamed", "data": {}}
    site = day.installation.site("worker", "producer")
    done = site.run("publish", "--no-check", "--file", "-", stdin=json.dumps(event), exit_code=2)
    assert "refused for user 'producer'" in done.stderr
    needed = "kmworker publish --no-check needs the broker's account operator"
    assert needed in done.stderr
    assert done.stdout == ""


def test_a_password_that_is_refused_is_no_outage(day: Day) -> None:
    site = day.installation.site("worker", "operator")
    broker = day.installation.broker
    wrong = replace(site, broker=At(broker.url("operator", password="wrong")))
    done = wrong.run("dead", "list", exit_code=2)
    assert "Login was refused" in done.stderr
    assert "is the password right?" in done.stderr
    elsewhere = At(day.installation.store.server.url_of("dashboard").replace("@", "x@"))
    done = replace(site, store=elsewhere).run("status", exit_code=2)
    assert "as user dashboard: the store refuses" in done.stderr
    assert "is the password right?" in done.stderr


def test_an_operator_lets_a_waiting_event_expire_and_a_dashboard_does_not(day: Day) -> None:
    project = "expiring"
    orphan = _event(Item(project, "snapshot", "s"), Item(project, "volume", "nowhere"))
    installation = day.installation
    worker = Worker(installation.site("worker", "worker"))
    command = ("waiting", "expire", "--project", project, "snapshot:s")
    try:
        produce(installation.broker, orphan)
        until(lambda: _waiting(installation, project) == 1, "it waits")
        installation.store.denials()
        for user in ("dashboard", "operator"):
            listed = installation.site(user, "operator").run("waiting", "list", "--json")
            assert [it["item"] for it in json.loads(listed.stdout)] == ["snapshot:s"]
        assert installation.store.denials() == []
        refused = installation.site("dashboard", "operator").run(*command, exit_code=2)
        assert "the store refuses" in refused.stderr
        assert "kmworker waiting expire needs the store's account operator" in refused.stderr
        installation.store.denials()
        installation.site("operator", "operator").run(*command)
        assert installation.store.denials() == []
        until(lambda: _waiting(installation, project) == 0, "it is dead")
        worker.stop()
    finally:
        worker.kill()
    installation.site("operator", "operator").run("dead", "discard", "event-s")


def _waiting(installation: Installation, project: str) -> int:
    with installation.store.client("dashboard") as client:
        count: Any = client.hlen(f"km:{{{project}}}:waiting")
    return int(count)


@of_the_broker
def test_an_operator_replays_a_dead_letter(day: Day) -> None:
    letter = day.letters[0]
    with day.installation.broker.connect("operator") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        key = letter.headers["x-kmworker-routing-key"]
        channel.basic_publish(EVENTS, key, letter.body, mandatory=True)
    with day.installation.broker.connect("worker") as connection:
        again = take(connection.channel(), WORK)
    assert again is not None
    assert again.body == letter.body
