"""``kmworker doctor`` at real servers: what it sees, and that it leaves no trace."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.kit.outside.worker import Site, working
from tests.kit.polling import until
from tests.kit.servers import At, RabbitMQ, Start, StoreServer

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
    vhost = left_alone.namespace
    url = f"amqp://{quote(user)}:{PASSWORD}@127.0.0.1:{rabbitmq.port}/{vhost}"

    def set_rights(configure: str, write: str, read: str) -> Site:
        permit(vhost, configure, write, read)
        return replace(left_alone, broker=At(url))

    with rabbitmq.user(user, PASSWORD) as permit:
        yield set_rights


def test_a_healthy_installation_passes(at_work: Site) -> None:
    found = looked_at(at_work)
    broker = found["broker"]["detail"]
    # Neither is anything wrong: nobody named the management plugin, without which RabbitMQ 4's
    # limit of deliveries may or may not be lifted, and the shipped policy lists no producers.
    unseen = "not checked" if broker.startswith("RabbitMQ 3.") else "warning"
    assert found.pop("policies")["status"] == unseen
    assert found.pop("producers")["status"] == "warning"
    # From RabbitMQ 4.3 on, only who has some right on a queue may look at it.
    assert found.pop("requests")["status"] in {"ok", "not checked"}
    assert {it["status"] for it in found.values()} == {"ok"}
    assert broker.startswith("RabbitMQ ")
    password = urlsplit(at_work.broker_url("worker")).password
    assert password
    assert password not in at_work.run("doctor").stdout


def test_a_broker_that_takes_nothing_from_publishers_is_named_and_all_else_is_looked_at(
    left_alone: Site, start_rabbitmq: Start[RabbitMQ]
) -> None:
    broker = start_rabbitmq()
    site = replace(left_alone, broker=broker)
    site.settings["KMWORKER_BROKER__CONFIRM_TIMEOUT_S"] = "2"
    broker.ctl("set_vm_memory_high_watermark", "0.000001")
    permissions = until(lambda: failed(site).get("permissions"), "the alarm is raised")
    assert "the broker takes nothing from publishers" in permissions
    assert {"policies", "store", "records"} <= looked_at(site).keys()


def test_before_the_first_worker_only_its_queues_are_missing_and_stay_so(
    bare_site: Site,
) -> None:
    site, name = bare_site, bare_site.namespace
    assert failed(site) == {
        "queues": f"missing: exchange {name}.events, exchange {name}.assignments, "
        f"exchange {name}.keys, exchange {name}.revocations, exchange {name}.dead, "
        f"queue {name}.events.work, queue {name}.dead"
    }
    with site.connected() as client:
        assert not client.has("queue", "dead")
        assert not client.has("exchange", "dead")
    assert not list(site.reader.everything("*"))


def test_it_consumes_and_publishes_nothing(left_alone: Site) -> None:
    site = left_alone
    with site.client() as client:
        site.run("publish", "volume-created", "--project", "p1", "--set", "volume_id=v1")
        assert looked_at(site)["permissions"]["status"] == "ok"
        until(lambda: client.ready("events.work") == 1, "the event is still there")
        channel = client.connection("worker").channel()
        method, _, _ = channel.basic_get(f"{site.namespace}.events.work", auto_ack=True)
        assert method is not None
        assert not method.redelivered
        assert client.ready("dead") == 0
        client.pump()
        assert (client.assignments, client.letters) == ([], [])


def test_the_rights_of_a_worker_are_enough(allow: Allow, left_alone: Site) -> None:
    name = left_alone.namespace
    site = allow(
        "^$", rf"^{name}\.(assignments|dead|keys|revocations)$", rf"^{name}\.events\.work$"
    )
    assert failed(site) == {}


@pytest.mark.parametrize(
    ("write", "read", "lacking"),
    [
        (r"^{}\.(assignments|dead|keys|revocations)$", "^$", "read {}.events.work"),
        (r"^{}\.(dead|keys|revocations)$", r"^{}\.events\.work$", "write {}.assignments"),
        (r"^{}\.(assignments|dead|revocations)$", r"^{}\.events\.work$", "write {}.keys"),
        (r"^{}\.(assignments|dead|keys)$", r"^{}\.events\.work$", "write {}.revocations"),
        (r"^{}\.(assignments|keys|revocations)$", r"^{}\.events\.work$", "write {}.dead"),
    ],
)
def test_a_right_that_lacks_is_named(
    allow: Allow, left_alone: Site, write: str, read: str, lacking: str
) -> None:
    name = left_alone.namespace
    site = allow("^$", write.format(name), read.format(name))
    assert failed(site) == {"permissions": f"user user-{name} may not {lacking.format(name)}"}
    assert "use the account worker" in looked_at(site)["permissions"]["hint"]


def test_a_queue_of_another_kind_is_named_to_who_may_declare(
    allow: Allow, left_alone: Site
) -> None:
    name = f"{left_alone.namespace}.dead"
    with left_alone.connected() as client:
        channel = client.admin.channel()
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True)
    assert failed(allow(".*", ".*", ".*")) == {"queues": f"no durable quorum queues: {name}"}


def test_a_broker_that_does_not_prove_who_it_is_is_named_with_the_reason(
    rabbitmq: RabbitMQ, site: Site
) -> None:
    trusted = replace(site, broker=At(rabbitmq.tls_url_of("worker", site.namespace)))
    assert looked_at(trusted)["broker"]["status"] == "ok"
    url = rabbitmq.tls_url_of("worker", site.namespace, host="127.1")
    other = replace(site, broker=At(url))
    assert "certificate is not trusted: Hostname mismatch" in failed(other)["broker"]


# --- the store ----------------------------------------------------------------------


def test_a_dashboards_account_is_told_what_it_may_not_and_which_one_may(left_alone: Site) -> None:
    found = looked_at(left_alone.with_accounts(store="dashboard"))
    for check, said in (("rights", "EVALSHA"), ("writes", "a write is refused")):
        assert (found[check]["status"], said in found[check]["detail"]) == ("failed", True)
        assert found[check]["detail"].startswith("as user ")
        assert "use the account worker" in found[check]["hint"]


def test_a_full_store_is_named_and_nothing_is_written(
    redis_server: StoreServer, left_alone: Site
) -> None:
    before = set(left_alone.reader.everything("*"))
    admin = redis_server.admin()
    admin.config_set("maxmemory", "1mb")
    try:
        found = failed(left_alone)
    finally:
        admin.config_set("maxmemory", "0")
    assert list(found) == ["writes"]
    assert "the store is full: " in found["writes"]
    assert failed(left_alone) == {}
    # The worker's leases run out meanwhile.
    assert set(left_alone.reader.everything("*")) <= before
