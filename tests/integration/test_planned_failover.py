"""A primary that hands over lives on as a replica, and its connections stay open.

Whoever had connected to it by a stable name would have it for ever: the name leads elsewhere,
but nothing is ever looked up again.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from tests.kit.outside.client import Client
from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site, working
from tests.kit.polling import until
from tests.kit.servers import Proxy, RabbitMQ, Start, StoreServer, Through

PROJECT: Final = "acme"
BEFORE: Final = [f"before-{number}" for number in range(100)]
MEANWHILE: Final = [f"meanwhile-{number}" for number in range(300)]
AFTER: Final = [f"after-{number}" for number in range(100)]


@pytest.fixture(params=["redis", "valkey"])
def start(request: pytest.FixtureRequest) -> Start[StoreServer]:
    start: Start[StoreServer] = request.getfixturevalue(f"start_{request.param}")
    return start


@pytest.fixture
def primary(start: Start[StoreServer]) -> StoreServer:
    return start()


@pytest.fixture
def name(primary: StoreServer) -> Iterator[Proxy]:
    """What workers know the store by."""
    with closing(Proxy(primary.port)) as name:
        yield name


@pytest.fixture
def site(
    tmp_path: Path, rabbitmq: RabbitMQ, primary: StoreServer, name: Proxy, namespace: str
) -> Site:
    site = Site(tmp_path, rabbitmq, Through(primary, port=name.port), namespace, "km")
    site.lay_keyring()
    return site


@pytest.mark.parametrize("moves", ["at once", "late"])
def test_workers_follow_a_primary_that_hands_over_with_their_connections_open(
    site: Site, primary: StoreServer, start: Start[StoreServer], name: Proxy, moves: str
) -> None:
    replica = start({"replicaof": f"127.0.0.1 {primary.port}"})
    with working(site, 2) as workers, site.client() as client:
        _publish(client, BEFORE)
        _await_assigned(client, BEFORE)
        _publish(client, MEANWHILE)
        _hand_over(primary, replica)
        if moves == "late":
            until(lambda: _have_refused(workers), "both have met a replica")
        name.redirect(replica.port, keeping=True)
        _publish(client, AFTER)
        _await_assigned(client, [*BEFORE, *MEANWHILE, *AFTER])
        assert all(worker.process.poll() is None for worker in workers)
        with replica.admin() as raw:
            assert raw.hlen("km:{acme}:items") == len([*BEFORE, *MEANWHILE, *AFTER])
    site.run("verify")
    keys = defaultdict(set)
    for delivery in client.assignments:
        data = delivery.parsed()["data"]
        keys[data["item"]["id"]].add(data["key_id"])
    assert {item: found for item, found in keys.items() if len(found) != 1} == {}


def _hand_over(primary: StoreServer, replica: StoreServer) -> None:
    """Change the roles once both have the same, as a planned failover does."""
    with primary.admin() as old, replica.admin() as new:
        old.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        until(lambda: _is_level(old, new), "the replica has all of it")
        replica.lead()
        primary.follow(replica)
        old.execute_command("CLIENT", "UNPAUSE")
        until(lambda: _replication(old)["master_link_status"] == "up", "the old one follows")
        assert _replication(new)["role"] == "master"


def _is_level(old: redis.Redis, new: redis.Redis) -> bool:
    ours, theirs = _replication(old), _replication(new)
    linked = theirs.get("master_link_status") == "up"
    return linked and bool(ours["master_repl_offset"] == theirs["slave_repl_offset"])


def _replication(client: redis.Redis) -> dict[str, Any]:
    found: dict[str, Any] = client.info("replication")
    return found


def _have_refused(workers: list[Any]) -> bool:
    return all(b"the store is a replica" in worker.log.read_bytes() for worker in workers)


def _publish(client: Client, names: list[str]) -> None:
    for name in names:
        client.publish(said("volume-created", f"e-{name}", PROJECT, volume_id=name))


def _await_assigned(client: Client, names: list[str]) -> None:
    client.await_announced([f"{PROJECT}/volume:{name}" for name in names])
