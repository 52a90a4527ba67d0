"""A pipe: commands go out at once, replies are matched to them, and one connection is enough."""

import pytest
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import DataError, RedisError, ResponseError

from kmworker.store.client import Client, Gate
from kmworker.store.pipe import Pipe, Replies
from tests.kit.polling import until
from tests.kit.servers import StoreServer
from tests.kit.store.backends import ADMIN
from tests.kit.store.stand import Stand, StandOn


@pytest.fixture
def client(stand: Stand) -> Client:
    return stand.client(ADMIN)


@pytest.fixture
def key(stand: Stand) -> str:
    return f"{stand.prefix}:n"


def test_replies_belong_to_their_commands_whichever_are_waited_for_first(
    client: Client, key: str
) -> None:
    first = client.pipe.send([("INCR", key), ("INCR", key)])
    second = client.pipe.send([("INCRBY", key, 10)])
    third = client.pipe.send([("GET", key)])
    assert third.result() == [b"12"]
    assert first.result() == [1, 2]
    assert second.result() == [12]
    assert first.result() == [1, 2]


def test_what_is_sent_behind_a_write_sees_it(client: Client, key: str) -> None:
    client.pipe.send([("SET", key, b"\x00\xff"), ("EXPIRE", key, 100)])
    assert client.pipe.send([("GET", key)]).result() == [b"\x00\xff"]


def test_an_error_is_the_reply_of_one_command_and_not_of_its_neighbours(
    client: Client, key: str
) -> None:
    before, error, after = client.pipe.send(
        [("SET", key, "x"), ("INCR", key), ("GET", key)]
    ).result()
    assert before in {True, b"OK"}
    assert isinstance(error, ResponseError)
    assert after == b"x"


def test_nothing_to_send_has_no_replies(client: Client) -> None:
    assert client.pipe.send([]).result() == []


def test_what_cannot_be_sent_is_refused_and_the_next_is_sent(client: Client, key: str) -> None:
    with pytest.raises(DataError):
        client.pipe.send([("SET", key, object())])
    assert client.pipe.send([("GET", key)]).result() == [None]


def test_other_commands_find_what_the_pipe_has_sent(client: Client, key: str) -> None:
    sent = client.pipe.send([("SET", key, 5)])
    assert client.get(key) == b"5"
    assert client.pipe.send([("INCR", key)]).result() == [6]
    assert sent.result() in ([True], [b"OK"])


# --- on servers of the test's own ---------------------------------------------------------


def _clients(own: Stand) -> int:
    return len(own.raw.client_list())


def test_pipe_and_other_commands_share_one_connection(own: Stand) -> None:
    before = _clients(own)
    client = own.client(ADMIN)
    for number in range(3):
        sent = client.pipe.send([("SET", "a", number)])
        client.set("b", number)
        pipeline = client.pipeline(transaction=False)
        pipeline.get("a")
        assert pipeline.execute() == [str(number).encode()]
        assert client.pipe.send([("GET", "b")]).result() == [str(number).encode()]
        sent.result()
    assert _clients(own) == before + 1


def _waiting(pipe: Pipe) -> list[Replies]:
    return [pipe.send([("GET", name)]) for name in ("a", "b")]


def test_a_lost_connection_loses_every_reply_that_is_to_come_and_no_other(
    server: StoreServer, own: Stand
) -> None:
    client = own.client(ADMIN)
    came = client.pipe.send([("SET", "a", 1)])
    came.result()
    own.raw.client_pause(60_000)
    lost = _waiting(client.pipe)
    server.kill()
    with pytest.raises(RedisError):
        lost[1].result()
    for replies in lost:
        with pytest.raises(ConnectionLost):
            replies.result()
    server.start()
    assert client.pipe.send([("GET", "a")]).result() == [b"1"]
    came.result()
    for replies in lost:
        with pytest.raises(ConnectionLost):
            replies.result()


def test_whether_replies_have_come_is_seen_without_waiting_for_them(
    server: StoreServer, own: Stand
) -> None:
    client = own.client(ADMIN)
    came = client.pipe.send([("SET", "a", 1)])
    until(came.done, "the reply has come")
    # Those that write, and not whoever is to end it.
    own.raw.client_pause(60_000, all=False)
    first, second = (client.pipe.send([("INCR", "a")]) for _ in range(2))
    assert not any(replies.done() for replies in (first, second))
    own.raw.client_unpause()
    until(second.done, "both replies have come")
    assert first.done()
    assert [second.result(), first.result()] == [[3], [2]]
    own.raw.client_pause(60_000)
    lost = client.pipe.send([("GET", "a")])
    server.kill()
    until(lost.done, "the loss is seen")
    with pytest.raises(ConnectionLost):
        lost.result()


def test_a_pipe_connects_again_only_through_the_gate(server: StoreServer, own: Stand) -> None:
    gate = Gate()
    client = own.client_behind(gate)
    with pytest.raises(ConnectionLost):
        client.pipe.send([("PING",)])
    with gate.opened():
        client.ping()
    assert client.pipe.send([("PING",)]).result()
    server.stop()
    server.start()
    with pytest.raises(RedisError):
        client.pipe.send([("PING",)]).result()
    with pytest.raises(ConnectionLost):
        client.pipe.send([("PING",)])
    with gate.opened():
        client.ping()
    assert client.pipe.send([("PING",)]).result()


def test_a_wait_that_is_interrupted_leaves_no_reply_for_another(
    own: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = own.client(ADMIN)
    first, second = _waiting(client.pipe)
    connection = client.pipe._connection

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "read_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.result()
    monkeypatch.undo()
    with pytest.raises(ConnectionLost):
        second.result()
    assert client.pipe.send([("PING",)]).result() in ([True], [b"PONG"])


def test_a_reply_that_is_to_come_is_not_taken_for_the_answer_to_a_health_check(own: Stand) -> None:
    client = own.client(ADMIN)
    sent = client.pipe.send([("SET", "a", 1)])
    connection = client.pipe._connection
    connection.health_check_interval, connection.next_health_check = 1, 0
    assert client.pipe.send([("GET", "a")]).result() == [b"1"]
    assert sent.result() in ([True], [b"OK"])


def test_a_server_that_does_not_answer_in_time_is_a_lost_connection(
    server: StoreServer, stand_on: StandOn
) -> None:
    stand = stand_on(server, 0.3)
    client = stand.client(ADMIN)
    client.ping()
    stand.raw.client_pause(1_500)
    first, second = _waiting(client.pipe)
    with pytest.raises(RedisError):
        first.result()
    with pytest.raises(ConnectionLost):
        second.result()
