"""A pipe: commands go out at once, replies are matched to them, and one connection is enough."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import DataError, RedisError, ResponseError

from kmworker.redis_client import Client, Gate
from kmworker.redis_pipe import Pipe
from tests.contract.stand import Stand, StandOn
from tests.servers import Start, StoreServer


@pytest.fixture
def client(stand: Stand) -> Client:
    return stand.client()


@pytest.fixture
def key(stand: Stand) -> str:
    return f"{stand.prefix}:n"


def test_replies_belong_to_their_commands_whichever_are_waited_for_first(
    client: Client, key: str
) -> None:
    first = client.pipe.send([("INCR", key), ("INCR", key)])
    second = client.pipe.send([("INCRBY", key, 10)])
    third = client.pipe.send([("GET", key)])
    assert third() == [b"12"]
    assert first() == [1, 2]
    assert second() == [12]
    assert first() == [1, 2]


def test_what_is_sent_behind_a_write_sees_it(client: Client, key: str) -> None:
    client.pipe.send([("SET", key, b"\x00\xff"), ("EXPIRE", key, 100)])
    assert client.pipe.send([("GET", key)])() == [b"\x00\xff"]


def test_an_error_is_the_reply_of_one_command_and_not_of_its_neighbours(
    client: Client, key: str
) -> None:
    before, error, after = client.pipe.send([("SET", key, "x"), ("INCR", key), ("GET", key)])()
    assert before in {True, b"OK"}
    assert isinstance(error, ResponseError)
    assert after == b"x"


def test_nothing_to_send_has_no_replies(client: Client) -> None:
    assert client.pipe.send([])() == []


def test_what_cannot_be_sent_is_refused_and_the_next_is_sent(client: Client, key: str) -> None:
    with pytest.raises(DataError):
        client.pipe.send([("SET", key, object())])
    assert client.pipe.send([("GET", key)])() == [None]


def test_other_commands_find_what_the_pipe_has_sent(client: Client, key: str) -> None:
    sent = client.pipe.send([("SET", key, 5)])
    assert client.get(key) == b"5"
    assert client.pipe.send([("INCR", key)])() == [6]
    assert sent() in ([True], [b"OK"])


# --- on servers of the test's own ---------------------------------------------------------


@pytest.fixture
def server(start: Start[StoreServer]) -> StoreServer:
    return start()


def _clients(stand: Stand) -> int:
    watching: Any = stand.raw
    return len(watching.client_list())


def test_pipe_and_other_commands_share_one_connection(
    server: StoreServer, stand_on: StandOn
) -> None:
    stand = stand_on(server)
    before = _clients(stand)
    client = stand.client()
    for number in range(3):
        sent = client.pipe.send([("SET", "a", number)])
        client.set("b", number)
        pipeline = client.pipeline(transaction=False)
        pipeline.get("a")
        assert pipeline.execute() == [str(number).encode()]
        assert client.pipe.send([("GET", "b")])() == [str(number).encode()]
        sent()
    assert _clients(stand) == before + 1


def _waiting(pipe: Pipe) -> list[Callable[[], list[Any]]]:
    return [pipe.send([("GET", name)]) for name in ("a", "b")]


def test_a_lost_connection_loses_every_reply_that_is_to_come_and_no_other(
    server: StoreServer, stand_on: StandOn
) -> None:
    stand = stand_on(server)
    client = stand.client()
    came = client.pipe.send([("SET", "a", 1)])
    came()
    stand.raw.client_pause(60_000)
    lost = _waiting(client.pipe)
    server.kill()
    with pytest.raises(RedisError):
        lost[1]()
    for replies in lost:
        with pytest.raises(ConnectionLost):
            replies()
    server.start()
    assert client.pipe.send([("GET", "a")])() == [b"1"]
    came()
    for replies in lost:
        with pytest.raises(ConnectionLost):
            replies()


def test_a_pipe_connects_again_only_through_the_gate(
    server: StoreServer, stand_on: StandOn
) -> None:
    gate = Gate()
    client = stand_on(server).client_behind(gate)
    with pytest.raises(ConnectionLost):
        client.pipe.send([("PING",)])
    with gate.opened():
        client.ping()
    assert client.pipe.send([("PING",)])()
    server.stop()
    server.start()
    with pytest.raises(RedisError):
        client.pipe.send([("PING",)])()
    with pytest.raises(ConnectionLost):
        client.pipe.send([("PING",)])
    with gate.opened():
        client.ping()
    assert client.pipe.send([("PING",)])()


def test_a_wait_that_is_interrupted_leaves_no_reply_for_another(
    server: StoreServer, stand_on: StandOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = stand_on(server).client()
    first, second = _waiting(client.pipe)
    connection = client.pipe._connection

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "read_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first()
    monkeypatch.undo()
    with pytest.raises(ConnectionLost):
        second()
    assert client.pipe.send([("PING",)])() in ([True], [b"PONG"])


def test_a_reply_that_is_to_come_is_not_taken_for_the_answer_to_a_health_check(
    server: StoreServer, stand_on: StandOn
) -> None:
    client = stand_on(server).client()
    sent = client.pipe.send([("SET", "a", 1)])
    connection = client.pipe._connection
    connection.health_check_interval, connection.next_health_check = 1, 0
    assert client.pipe.send([("GET", "a")])() == [b"1"]
    assert sent() in ([True], [b"OK"])


def test_a_server_that_does_not_answer_in_time_is_a_lost_connection(
    server: StoreServer, stand_on: StandOn
) -> None:
    stand = stand_on(server, 0.3)
    client = stand.client()
    client.ping()
    stand.raw.client_pause(1_500)
    first, second = _waiting(client.pipe)
    with pytest.raises(RedisError):
        first()
    with pytest.raises(ConnectionLost):
        second()
