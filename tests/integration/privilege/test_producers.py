"""Two producers and an operator, by shipped accounts: each speaks for its own, and for no other."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from kmworker.client import Producer, VolumeCreated
from tests.integration.privilege.accounts import VHOST, Broker, Installation, Store, take
from tests.integration.privilege.broker_acts import ASSIGNMENTS, DEAD, EVENTS
from tests.kit.outside.worker import Worker
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, redis_store
from tests.kit.servers.accounts import CONFIG

QUEUE = "kmworker.sub.producers"
SWIFT, SWIFT_PASSWORD = "swift-eu1", "4f1e9c"
PARTITION = {"kind": "partition", "id": "policy-0/18/4711"}
POLICY = """
[[producer]]
user = "producer"
projects = "p*"
types = ["volume-created", "snapshot-taken", "replica-added"]

[[producer]]
user = "swift-eu1"
projects = "swift-eu1"
types = "*"

[[producer]]
user = "operator"
replay = true
"""


@dataclass
class Town:
    """An installation whose policy lists producers, and who listens to it."""

    installation: Installation
    settings: tuple[str, ...]
    assignments: BlockingChannel
    letters: BlockingChannel
    heard: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)

    def say(self, user: str, name: str, *, signed: str | None = None, **data: Any) -> None:
        """Publish as an account; the event's id and type are of its name: ``type/id``."""
        event_type, _slash, _name = name.partition("/")
        event = {
            "specversion": "1.0", "id": name, "source": f"/{user}", "type": event_type,
            "data": data,
        }  # fmt: skip
        password = SWIFT_PASSWORD if user == SWIFT else None
        with self.installation.broker.connect(user, password=password) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            properties = BasicProperties(delivery_mode=2, user_id=signed)
            body = json.dumps(event).encode()
            channel.basic_publish(EVENTS, event_type, body, properties, mandatory=True)

    def assigned(self, item: str) -> list[dict[str, Any]]:
        """Return the announcements of an item."""
        while (taken := take(self.assignments, QUEUE)) is not None:
            self.heard.append(json.loads(taken.body)["data"])
        return [it for it in self.heard if f"{it['item']['kind']}:{it['item']['id']}" == item]

    def why_not(self, name: str) -> str:
        """Return why an event is not allowed, as the operator finds it."""

        def is_there() -> bool:
            channel = self.letters
            while True:
                method, properties, _body = channel.basic_get(DEAD)
                if method is None or properties is None or properties.headers is None:
                    return name in self.refused
                headers: dict[str, Any] = dict(properties.headers)
                self.refused[headers["x-kmworker-event-id"]] = headers

        until(is_there, f"{name} is dead")
        # What was looked at goes back.
        self.letters.basic_recover(requeue=True)
        headers = self.refused.pop(name)
        assert headers["x-kmworker-reason"] == "not-allowed"
        return str(headers["x-kmworker-detail"])

    def operate(self, *words: str, exit_code: int = 0) -> str:
        """Run a command as the operator."""
        site = self.installation.site("operator", "operator", self.settings)
        return str(site.run(*words, exit_code=exit_code).stdout)


@pytest.fixture(scope="module")
def town(rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    new = tmp_path_factory.mktemp
    with (
        closing(redis_store(new("store"))) as store,
        rabbitmq.user(SWIFT, SWIFT_PASSWORD) as permit,
    ):
        store.start()
        rabbitmq.renew()
        permit(VHOST, "^$", r"^kmworker\.events$", "^$")
        installed = Installation(Store(store), Broker(rabbitmq), new("installation"))
        installed.make_keyring()
        policy = installed.folder / "policy.toml"
        policy.write_text((CONFIG / "policy.toml").read_text("utf-8") + POLICY, "utf-8")
        settings = (
            f"KMWORKER_POLICY__PATH={policy}",
            "KMWORKER_WAITING__DEADLINE_S=3",
            "KMWORKER_WAITING__SWEEP_S=0.3",
        )
        with (
            installed.broker.connect("subscriber") as connection,
            installed.broker.connect("operator") as other,
        ):
            listening = connection.channel()
            listening.queue_declare(QUEUE, exclusive=True)
            listening.queue_bind(QUEUE, ASSIGNMENTS, "key-assigned.#")
            worker = Worker(installed.site("worker", "worker", settings))
            try:
                yield Town(installed, settings, listening, other.channel())
            except BaseException as error:
                error.add_note(worker.tail())
                raise
            finally:
                worker.kill()


def is_assigned(town: Town, item: str, times: int = 1) -> Callable[[], bool]:
    return lambda: len(town.assigned(item)) >= times


def test_nobody_claims_anothers_partition_as_unencrypted(town: Town) -> None:
    replica = {"project_id": SWIFT, "replica_id": "policy-0/18/4711@obj-1", "node": "obj-1"}
    claim = {**replica, "source": PARTITION, "encryption": None, "transport": "reencrypt"}
    town.say("producer", "replica-added/claim", signed="producer", **claim)
    why = town.why_not("replica-added/claim")
    assert why == "producer producer may not speak for project swift-eu1"
    town.say(SWIFT, "replica-added/own", signed=SWIFT, source=PARTITION, **replica)
    until(is_assigned(town, "replica:policy-0/18/4711@obj-1"), "its own is heard")
    (partition,) = town.assigned("partition:policy-0/18/4711")
    assert partition["encryption"] is not None
    assert partition["cause"]["id"] == "replica-added/own"


def test_nobody_claims_a_volume_that_is_yet_to_come(town: Town) -> None:
    source = {"kind": "volume", "id": "trap", "project_id": SWIFT}
    town.say(
        SWIFT, "volume-created/claim", signed=SWIFT, project_id="p1", volume_id="v1", source=source
    )
    why = town.why_not("volume-created/claim")
    assert why == "producer swift-eu1 may not speak for project p1"
    town.say("producer", "volume-created/v1", signed="producer", project_id="p1", volume_id="v1")
    until(is_assigned(town, "volume:v1"), "its owner is heard")
    (assignment,) = town.assigned("volume:v1")
    assert (assignment["source"], assignment["disposition"]) == (None, "create")


def test_a_source_of_a_project_beyond_its_reach_is_refused_before_it_waits(town: Town) -> None:
    source = {"kind": "volume", "id": "never-there", "project_id": SWIFT}
    town.say(
        "producer", "volume-created/abroad", signed="producer", project_id="p1", volume_id="v2",
        source=source,
    )  # fmt: skip
    why = town.why_not("volume-created/abroad")
    assert why == "producer producer may not name a source of project swift-eu1"


def test_who_does_not_say_who_it_is_is_refused_and_no_replay_changes_that(town: Town) -> None:
    town.say("producer", "volume-created/unsigned", project_id="p1", volume_id="v3")
    why = town.why_not("volume-created/unsigned")
    assert why == "no user vouches for it: the message has no property user_id"
    town.operate("dead", "replay", "volume-created/unsigned")
    why = town.why_not("volume-created/unsigned")
    assert "it is replayed, and was sent without" in why
    assert town.assigned("volume:v3") == []


def test_the_broker_refuses_who_says_that_it_is_another(town: Town) -> None:
    with pytest.raises(ChannelClosedByBroker, match="user_id property set to 'producer'"):
        town.say(SWIFT, "volume-created/forged", signed="producer", project_id="p1", volume_id="v4")


def test_a_repeat_of_an_assigned_item_is_answered_whoever_sends_it(town: Town) -> None:
    for name, signed in (("volume-created/first", "producer"), ("volume-created/again", None)):
        town.say("producer", name, signed=signed, project_id="p1", volume_id="v5")
        until(is_assigned(town, "volume:v5", 1 + (signed is None)), "it is answered")
    first, again = town.assigned("volume:v5")
    assert again == first


def test_a_waiting_event_keeps_its_user_and_a_replayed_one_its_first_senders(town: Town) -> None:
    snapshot = {"project_id": "p1", "snapshot_id": "s6", "volume_id": "v6"}
    town.say("producer", "snapshot-taken/s6", signed="producer", **snapshot)

    def is_dead() -> bool:
        listed = json.loads(town.operate("dead", "list", "--json"))
        found = {it["event_id"]: it for it in listed}
        return bool(found.get("snapshot-taken/s6", {}).get("reason") == "source-missing")

    until(is_dead, "its source did not come", within_s=20)
    town.say("producer", "snapshot-taken/s7", signed="producer", project_id="p1",
             snapshot_id="s7", volume_id="v6")  # fmt: skip
    town.say("producer", "volume-created/v6", signed="producer", project_id="p1", volume_id="v6")
    until(is_assigned(town, "snapshot:s7"), "what waited is heard")
    town.operate("dead", "replay", "snapshot-taken/s6")
    until(is_assigned(town, "snapshot:s6"), "what is replayed is heard")


def test_our_own_producers_say_who_they_are(town: Town) -> None:
    installed = town.installation
    site = installed.site("operator", "producer", town.settings)
    site.run("publish", "volume-created", "--project", "p1", "--set", "volume_id=v8")
    until(is_assigned(town, "volume:v8"), "the command is heard")
    with Producer(installed.broker.url("producer"), event_source="/tests") as producer:
        producer.publish(VolumeCreated(project_id="p1", volume_id="v9"))
    until(is_assigned(town, "volume:v9"), "the library is heard")


def test_a_user_that_may_not_replay_is_told_before_letters_lose_their_users(town: Town) -> None:
    site = town.installation.site("operator", "operator", town.settings)
    refused = site.run("dead", "replay", "--all", "--user", "producer", exit_code=2)
    assert "user producer may not replay: its events would be not-allowed" in refused.stderr
