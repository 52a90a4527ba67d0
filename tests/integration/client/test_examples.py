"""The programs in docs/producing.md and docs/subscribing.md, on RabbitMQ with a real worker."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kmworker.client import Item, Kind, Producer, VolumeCreated
from tests.integration.client.programs import listening, printed, run
from tests.kit.outside.client import Client
from tests.kit.outside.worker import PROJECT_ROOT, Site, working
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer, locate

PRODUCERS = ["produce_client.py", "produce_pika.py", "produce_kombu.py", "produce.sh"]
# amqp-publish learns nothing of what becomes of a message; the document says so.
CONFIRMING = PRODUCERS[:3]
SUBSCRIBERS = ["subscribe_client.py", "subscribe_pika.py"]


@pytest.fixture(scope="module")
def site(
    rabbitmq: RabbitMQ, redis_server: StoreServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """An installation with a worker, for all programs one after the other."""
    name = f"t{uuid4().hex[:8]}"
    site = Site(tmp_path_factory.mktemp("site"), rabbitmq, redis_server, name, name)
    site.lay_keyring()
    with working(site):
        yield site
    for server in (rabbitmq, redis_server):
        server.forget(name)


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """A subscriber that is none of the programs."""
    with site.client() as subscribed:
        yield subscribed


@pytest.fixture
def project() -> str:
    return f"p{uuid4().hex[:8]}"


def assignment(client: Client, subject: str) -> dict[str, Any]:
    """Wait for an item's assignment and give its data."""
    until(lambda: subject in client.announced(), f"{subject} is announced", between=client.pump)
    data: dict[str, Any] = client.announced()[subject][0].parsed()["data"]
    return data


@pytest.mark.parametrize("program", PRODUCERS)
def test_what_a_producer_announces_gets_its_key_and_announcing_again_changes_nothing(
    site: Site, client: Client, project: str, program: str
) -> None:
    locate.amqp_publish()  # where it is missing, this says what to install
    subject = f"{project}/volume:v1"
    told = printed(site, program, project, "v1")
    data = assignment(client, subject)
    assert data["disposition"] == "create"
    assert data["cause"]["id"] == (told or f"volume-created/{project}/v1")
    printed(site, program, project, "v1")
    until(lambda: len(client.announced()[subject]) == 2, "both answers", between=client.pump)
    first, second = client.announced()[subject]
    assert first.same_as(second)


@pytest.mark.parametrize("program", CONFIRMING)
def test_a_producer_fails_where_nothing_receives_its_events(
    site: Site, rabbitmq: RabbitMQ, program: str
) -> None:
    nowhere = replace(site, namespace=f"{site.namespace}nowhere")
    with nowhere.connected() as client:
        client.admin.channel().queue_delete(f"{nowhere.namespace}.events.work")
        done = run(nowhere, program, "p1", "v1")
    rabbitmq.forget(nowhere.namespace)
    assert done.returncode != 0
    assert done.stdout == ""


def test_a_lineage_gets_its_keys_in_whatever_order(
    site: Site, client: Client, project: str
) -> None:
    printed(site, "produce_lineage.py", project)
    refs = ("volume:db", "snapshot:monday", "volume:db-test", "replica:monday@oslo")
    told = {ref: assignment(client, f"{project}/{ref}") for ref in refs}
    assert len({data["scope_id"] for data in told.values()}) == 1
    assert told["volume:db"]["key_id"] == told["snapshot:monday"]["key_id"]
    assert assignment(client, f"{project}/volume:scratch")["disposition"] == "none"


@pytest.mark.parametrize("program", SUBSCRIBERS)
def test_a_subscriber_hears_of_volumes_and_of_nothing_else(
    site: Site, client: Client, project: str, program: str, tmp_path: Path
) -> None:
    with listening(site, program, *_file(program, tmp_path)) as listener:
        printed(site, "produce_lineage.py", project)
        for volume in ("db", "db-test"):
            data = assignment(client, f"{project}/volume:{volume}")
            listener.says(data["key_id"])
        assert "monday" not in listener.output()


@pytest.mark.parametrize("program", SUBSCRIBERS)
def test_a_subscriber_misses_nothing_while_it_is_down(
    site: Site, client: Client, project: str, program: str, tmp_path: Path
) -> None:
    with listening(site, program, *_file(program, tmp_path)) as listener:
        listener.kill()
    printed(site, "produce_client.py", project, "v1")
    key_id = assignment(client, f"{project}/volume:v1")["key_id"]
    with listening(site, program, *_file(program, tmp_path)) as listener:
        listener.says(key_id)


@pytest.mark.parametrize("program", SUBSCRIBERS)
def test_a_subscriber_outlives_its_connection(
    site: Site, rabbitmq: RabbitMQ, project: str, program: str, tmp_path: Path
) -> None:
    with listening(site, program, *_file(program, tmp_path)) as listener:
        rabbitmq.ctl("close_all_connections", "a test")
        printed(site, "produce_client.py", project, "v1")
        listener.says(project)


def test_sigterm_ends_the_clients_subscriber_in_good_order(site: Site) -> None:
    with listening(site, "subscribe_client.py") as listener:
        assert listener.terminate() == 0


def test_the_table_has_each_assignment_once(
    site: Site, client: Client, project: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "table")
    with listening(site, "subscribe_pika.py", file) as listener:
        printed(site, "produce_client.py", project, "v1")
        listener.says(f"{project} v1")
    with listening(site, "subscribe_pika.py", file) as listener:
        site.run("announce", "--project", project)
        listener.says("repeat")
        assert f"{project} v1" in listener.output()
    key_id = assignment(client, f"{project}/volume:v1")["key_id"]
    with closing(sqlite3.connect(file)) as table:
        rows = table.execute("SELECT volume, key_id, data_action FROM assigned").fetchall()
    assert rows == [("v1", key_id, "none")]


def test_what_could_not_be_put_into_the_table_comes_again(
    site: Site, project: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "table")
    with listening(site, "subscribe_pika.py", file) as listener:
        with closing(sqlite3.connect(file, isolation_level=None)) as table:
            table.execute("BEGIN EXCLUSIVE")
            printed(site, "produce_client.py", project, "v1")
            assert listener.ended() != 0
        assert "database is locked" in listener.output()
    with listening(site, "subscribe_pika.py", file) as listener:
        listener.says(f"{project} v1")


def test_what_becomes_of_a_key_is_heard_with_who_held_it(
    site: Site, client: Client, project: str
) -> None:
    with listening(site, "subscribe_keys.py") as listener:
        printed(site, "produce_client.py", project, "v1")
        key_id = assignment(client, f"{project}/volume:v1")["key_id"]
        gone = ("volume-deleted", "--project", project, "--set", "volume_id=v1")
        site.run("publish", *gone)
        listener.says(f"key-deactivated {key_id} is deactivated")
        assert f"holds volume:v1 {key_id}" in listener.output()
        assert f"gone volume:v1 {key_id}" in listener.output()


def test_refusals_can_be_heard(
    site: Site, rabbitmq: RabbitMQ, client: Client, project: str
) -> None:
    contradiction = VolumeCreated(
        project_id=project, volume_id="v1", source=Item(project, Kind.VOLUME, "other")
    )
    admins_part = {
        "queues": [it for it in _in_document() if "name" in it],
        "bindings": [it for it in _in_document() if "source" in it],
    }
    rabbitmq.import_definitions(
        json.loads(json.dumps(admins_part).replace("kmworker", site.namespace))
    )
    with listening(site, "refusals_pika.py") as listener:
        printed(site, "produce_client.py", project, "v1")
        assignment(client, f"{project}/volume:v1")
        url = site.broker_url("producer")
        with Producer(url, event_source="/t", namespace=site.namespace) as producer:
            producer.publish(contradiction)
        listener.says(f"{contradiction.id} conflict: ")


def _in_document() -> list[dict[str, Any]]:
    """Return what docs/producing.md says that an administrator adds."""
    document = (PROJECT_ROOT / "docs" / "producing.md").read_text("utf-8")
    (block,) = re.findall(r"```text\n(\{\"name\".*?)```", document, re.DOTALL)
    return [json.loads(line) for line in block.splitlines()]


def _file(program: str, folder: Path) -> list[str]:
    return [str(folder / "table")] if program == "subscribe_pika.py" else []
