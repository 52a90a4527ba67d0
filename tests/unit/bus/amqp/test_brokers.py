"""Which of several brokers is tried, and when."""

from types import SimpleNamespace
from typing import Any

import pytest

from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.link import Link
from kmworker.errors import BrokerUnavailable, SetupError
from kmworker.settings import BrokerSettings

A, B, C = "amqp://u:hunter2@a", "amqp://u:hunter2@b", "amqp://u:hunter2@c"


class Cluster:
    """Nodes of which some are away."""

    def __init__(self, *away: str) -> None:
        self.away = set(away)
        self.tried: list[str] = []

    def connect(self, settings: BrokerSettings, *_arguments: object) -> Any:
        (url,) = settings.addresses
        self.tried.append(url)
        if url in self.away:
            raise ConnectionRefusedError("connection refused")
        return SimpleNamespace(collect=lambda: None)

    def link(self, brokers: Brokers | None = None, *urls: str) -> Link:
        settings = BrokerSettings(urls=urls or (A, B, C))
        return Link(settings, "test", connect=self.connect, brokers=brokers)


def test_a_command_takes_the_first_that_answers() -> None:
    cluster = Cluster(A, B)
    link = cluster.link()
    link.open()
    assert (link.url, cluster.tried) == (C, [A, B, C])


def test_where_none_answers_each_was_tried_once_and_is_named_without_its_password() -> None:
    cluster = Cluster(A, B, C)
    link = cluster.link()
    with pytest.raises(BrokerUnavailable) as caught:
        link.open()
    assert cluster.tried == [A, B, C]
    assert all(f"amqp://u:***@{host}: connection refused" in str(caught.value) for host in "abc")
    assert "hunter2" not in str(caught.value)


def test_who_tries_again_by_itself_tries_one_at_a_time_and_comes_round() -> None:
    cluster = Cluster(A, B, C)
    brokers = Brokers((A, B, C))
    link = cluster.link(brokers)
    for _ in range(4):
        with pytest.raises(BrokerUnavailable):
            link.open()
    cluster.away.clear()
    link.open()
    assert cluster.tried == [A, B, C, A, B]


def test_two_connections_that_are_lost_with_one_broker_go_on_to_the_same_next_one() -> None:
    cluster, changes = Cluster(), list[str]()
    brokers = Brokers((A, B, C), changes.append)
    consumer, publisher = cluster.link(brokers), cluster.link(brokers)
    for link in (consumer, publisher):
        link.open()
    consumer.discard()
    publisher.discard()
    for link in (consumer, publisher):
        link.open()
        assert link.url == B
    assert changes == [B]


def test_leaving_in_good_order_is_no_loss() -> None:
    cluster = Cluster()
    link = cluster.link()
    for _ in range(2):
        link.open()
        link.close()
        link.discard()
    assert cluster.tried == [A, A]


def test_one_broker_alone_is_tried_again_and_never_changes() -> None:
    changes: list[str] = []
    brokers = Brokers((A,), changes.append)
    brokers.leave(A)
    assert (brokers.current, changes) == (A, [])


def test_a_file_that_any_of_them_names_must_be_usable() -> None:
    with pytest.raises(SetupError, match="gone"):
        Cluster().link(None, A, "amqps://b?ssl_ca_certs=/gone.pem")
