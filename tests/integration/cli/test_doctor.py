"""``kmworker doctor`` at real servers: what it sees, and that it leaves no trace."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.outside.client import connected
from tests.integration.outside.polling import until
from tests.integration.outside.worker import Site, working
from tests.servers import RabbitMQ

PASSWORD = "not-a-secret"
Allow = Callable[[str, str, str], Site]


def looked_at(site: Site) -> dict[str, Any]:
    """What each check found."""
    done = site.run("doctor", "--json", exit_code=None)
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["ok"] else 1)
    return {check["check"]: check for check in document["checks"]}


def failed(site: Site) -> dict[str, str]:
    found = looked_at(site)
    return {name: it["detail"] for name, it in found.items() if it["status"] == "failed"}


@pytest.fixture
def left_alone(site: Site) -> Site:
    """An installation whose worker has stopped: nothing takes what a check might leave."""
    with working(site):
        pass
    return site


@pytest.fixture
def allow(rabbitmq: RabbitMQ, left_alone: Site) -> Iterator[Allow]:
    """Make a user with these rights to configure, write and read, and use it."""
    user = f"user-{left_alone.namespace}"
    rabbitmq.ctl("add_user", user, PASSWORD)

    def set_rights(configure: str, write: str, read: str) -> Site:
        rabbitmq.ctl("set_permissions", user, configure, write, read)
        login = f"{quote(user)}:{PASSWORD}"
        return replace(left_alone, broker_url=rabbitmq.url.replace("guest:guest", login))

    yield set_rights
    rabbitmq.ctl("delete_user", user)


def test_a_healthy_installation_passes(at_work: Site) -> None:
    found = looked_at(at_work)
    assert {it["status"] for it in found.values()} == {"ok"}
    assert found["broker"]["detail"].startswith("RabbitMQ 3.")
    assert "guest:guest" not in at_work.run("doctor").stdout


def test_before_the_first_worker_only_its_queues_are_missing_and_stay_so(site: Site) -> None:
    name = site.namespace
    assert failed(site) == {
        "queues": f"missing: exchange {name}.events, exchange {name}.assignments, "
        f"exchange {name}.dead, queue {name}.events.work, queue {name}.dead"
    }
    with connected(site.broker_url, site.namespace) as client:
        assert not client._has("queue", f"{name}.dead")
        assert not client._has("exchange", f"{name}.dead")
    assert not list(site.reader.everything("*"))


def test_it_consumes_and_publishes_nothing(left_alone: Site) -> None:
    site = left_alone
    with connected(site.broker_url, site.namespace) as client:
        client.subscribe()
        site.run("publish", "volume-created", "--project", "p1", "--set", "volume_id=v1")
        assert looked_at(site)["permissions"]["status"] == "ok"
        until(lambda: client.ready("events.work") == 1, "the event is still there")
        channel = client.connection.channel()
        method, _, _ = channel.basic_get(f"{site.namespace}.events.work", auto_ack=True)
        assert method is not None
        assert not method.redelivered
        assert client.ready("dead") == 0
        client.pump()
        assert (client.assignments, client.letters) == ([], [])


def test_the_rights_of_a_worker_are_enough(allow: Allow, left_alone: Site) -> None:
    name = left_alone.namespace
    site = allow("^$", rf"^{name}\.(assignments|dead)$", rf"^{name}\.events\.work$")
    assert failed(site) == {}


@pytest.mark.parametrize(
    ("write", "read", "lacking"),
    [
        (r"^{}\.(assignments|dead)$", "^$", "read {}.events.work"),
        (r"^{}\.dead$", r"^{}\.events\.work$", "write {}.assignments"),
        (r"^{}\.assignments$", r"^{}\.events\.work$", "write {}.dead"),
    ],
)
def test_a_right_that_lacks_is_named(
    allow: Allow, left_alone: Site, write: str, read: str, lacking: str
) -> None:
    name = left_alone.namespace
    site = allow("^$", write.format(name), read.format(name))
    assert failed(site) == {"permissions": f"this user may not {lacking.format(name)}"}


def test_a_queue_of_another_kind_is_named(left_alone: Site) -> None:
    name = f"{left_alone.namespace}.dead"
    with connected(left_alone.broker_url, left_alone.namespace) as client:
        channel = client.connection.channel()
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True)
    assert failed(left_alone) == {"queues": f"no durable quorum queues: {name}"}


def test_another_keyring_is_found_out_and_not_entered(left_alone: Site) -> None:
    before = left_alone.reader.fields("keyring")
    left_alone.keyring.rename(left_alone.folder / "first")
    left_alone.run("keyring", "init")
    assert set(failed(left_alone)) == {"records"}
    assert left_alone.reader.fields("keyring") == before


def test_servers_that_are_not_there_are_two_failures(site: Site) -> None:
    away = replace(
        site, broker_url="amqp://guest:guest@127.0.0.1:1/", store_url="redis://127.0.0.1:1"
    )
    assert set(failed(away)) == {"broker", "store"}


def test_a_broker_that_does_not_prove_who_it_is_is_named_with_the_reason(
    rabbitmq: RabbitMQ, site: Site
) -> None:
    trusted = replace(site, broker_url=rabbitmq.tls_url())
    assert looked_at(trusted)["broker"]["status"] == "ok"
    other = replace(site, broker_url=rabbitmq.tls_url("127.1"))
    assert "certificate is not trusted: Hostname mismatch" in failed(other)["broker"]
