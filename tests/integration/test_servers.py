"""The servers themselves: every crash test rests on what they promise here."""

import pytest

from tests.kit.servers import RabbitMQ, Start, StoreServer


@pytest.fixture(params=["redis", "valkey"])
def start_store(request: pytest.FixtureRequest) -> Start[StoreServer]:
    start: Start[StoreServer] = request.getfixturevalue(f"start_{request.param}")
    return start


def test_a_killed_store_comes_back_on_its_port_with_every_acknowledged_write(
    start_store: Start[StoreServer],
) -> None:
    server = start_store()
    with server.admin() as client:
        client.set("key", "value")
    server.kill()
    assert not server.answers()
    server.restart()
    with server.admin() as client:
        assert client.get("key") == b"value"


def test_a_tests_options_win_over_the_shipped_ones(start_store: Start[StoreServer]) -> None:
    server = start_store({"appendfsync": "everysec", "maxmemory-policy": "allkeys-lru"})
    with server.admin() as client:
        found = client.config_get("appendfsync", "maxmemory-policy")
    assert found == {"appendfsync": "everysec", "maxmemory-policy": "allkeys-lru"}


def test_a_killed_broker_comes_back_on_its_port_with_every_durable_queue(
    start_rabbitmq: Start[RabbitMQ],
) -> None:
    server = start_rabbitmq()
    arguments = {"x-queue-type": "quorum"}
    with server.admin() as connection:
        connection.channel().queue_declare(
            "work", durable=True, auto_delete=False, arguments=arguments
        )
    server.kill()
    assert not server.answers()
    server.restart()
    listed = server.ctl("list_queues", "-p", "kmworker", "--no-table-headers", "name", "type")
    assert "work\tquorum" in listed.splitlines()
