"""What a store may answer is without end: only what is known to be an event's fault is one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis.exceptions import ResponseError

from kmworker.errors import PermanentError, ScriptFailed, StoreUnavailable
from kmworker.settings import StoreSettings
from kmworker.store.connection import connect, store_errors, translate
from tests.kit.store.builders import draft, volume
from tests.kit.store.stand import Stand

OUTAGES = (
    "upstream failure",
    "ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.",
    "ERR command is not available on this plan",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "CLUSTERDOWN Hash slot not served",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Redis is loading the dataset in memory",
    "NOREPLICAS Not enough good replicas to write.",
    "UNBLOCKED force unblock from blocking operation",
    "ERR internal error",
    "",
)


@pytest.mark.parametrize("text", OUTAGES)
@pytest.mark.parametrize("of_project", [False, True], ids=["command", "script"])
def test_whatever_else_a_store_answers_is_waited_for_and_told(text: str, of_project: bool) -> None:
    error = translate(ResponseError(text), of_project=of_project)
    assert isinstance(error, StoreUnavailable)
    assert text in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "ERR unknown command 'AUTH', with args beginning with: 'worker' 'hunter2' ",
        "ERR unknown command `HSET`, with args beginning with: `km:{p}:items` `hunter2`",
        "ERR wrong number: 'hunter2 and more'",
        "ERR syntax error near " + "hunter2" * 8,
        "proxy: bad request *3\r\n$4\r\nAUTH\r\n$64\r\n" + "hunter2" * 30,
        "x" * 4000 + "hunter2",
    ],
)
def test_what_a_server_quotes_is_not_told(text: str) -> None:
    said = str(translate(ResponseError(text)))
    assert "hunter2" not in said
    assert said.isprintable()
    assert len(said) < 300


def test_the_command_that_is_not_permitted_is_told() -> None:
    text = "NOPERM this user has no permissions to run the 'config|get' command"
    assert str(translate(ResponseError(text))).endswith(text)


def test_a_fault_of_a_script_of_ours_is_no_outage(own: Stand) -> None:
    raw = own.raw
    for script in ("local x = nil; return x.y", "return string.rep('x', -1, {}).y.z"):
        with pytest.raises(ResponseError) as fault:
            raw.eval(script, 0)
        error = translate(fault.value, of_project=True)
        assert isinstance(error, ScriptFailed)
        assert "attempt to index" in str(error) or "number has no" in str(error), error
    # What a command within a script is refused with is what the server says.
    with pytest.raises(ResponseError) as refused:
        raw.eval("return redis.call('NOSUCH')", 0)
    raw.config_set("maxmemory", 1)
    with pytest.raises(ResponseError) as full:
        raw.eval("return redis.call('SET', KEYS[1], 'v')", 1, "km:x")
    assert isinstance(translate(full.value, of_project=True), StoreUnavailable)
    assert refused.value is not full.value


def test_a_projects_key_of_the_wrong_type_is_its_events_fault_and_no_other_key_is(
    stand: Stand,
) -> None:
    store = stand.store()
    stand.raw.set(stand.key("p1", "items"), "text")
    with pytest.raises(PermanentError):
        store.look_up([volume("v")]).result()
    with pytest.raises(PermanentError):
        store.commit([draft.create(volume("v"))]).result()
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"), store_errors():
        stand.raw.hgetall(stand.key("p1", "items"))


@contextmanager
def answering(text: bytes) -> Iterator[int]:
    """Run something that accepts connections and gives one answer to whatever is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                with connection:
                    while connection.recv(65_536):
                        connection.sendall(text)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def test_a_proxy_that_has_no_server_behind_it_is_an_outage() -> None:
    with answering(b"-upstream failure\r\n") as port:
        client = connect(StoreSettings(url=f"redis://127.0.0.1:{port}"))
        with pytest.raises(StoreUnavailable, match="upstream failure"), store_errors():
            client.get("km:x")


def said_of(url: str, timeout_s: float = 5.0) -> str:
    client = connect(StoreSettings(url=url, timeout_s=timeout_s))
    with pytest.raises(StoreUnavailable) as gone, store_errors():
        client.get("km:x")
    return str(gone.value)


def test_a_store_that_is_away_does_not_refuse_and_is_named_without_its_password() -> None:
    assert said_of("redis://worker:hunter2@127.0.0.1:1") == (
        "cannot reach the store: 127.0.0.1:1: connection refused"
    )
    assert said_of("redis://[::1]:1").startswith("cannot reach the store: [::1]:1: ")
    assert said_of("unix:///nowhere/redis.sock") == (
        "cannot reach the store: /nowhere/redis.sock: no such file or directory"
    )


def test_a_store_that_hangs_or_hangs_up_is_not_reached_either() -> None:
    with answering(b"") as port:
        said = said_of(f"redis://127.0.0.1:{port}", 0.1)
        assert said.startswith(f"cannot reach the store: 127.0.0.1:{port}: timeout"), said
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def hang_up() -> None:
            connection, _address = listener.accept()
            connection.recv(65_536)
            connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        said = said_of(f"redis://127.0.0.1:{port}")
        thread.join()
        assert said == f"cannot reach the store: 127.0.0.1:{port}: connection closed by server"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"-LOADING Redis is loading\r\n", "the store refuses: Redis is loading"),
        (
            b"-ERR max number of clients reached\r\n",
            "the store refuses: max number of clients reached",
        ),
        (b"-WRONGPASS invalid pair\r\n", "the store refuses: invalid pair"),
        (
            b"-NOAUTH HELLO must be called with the client already authenticated\r\n",
            "the store wants a user and password: name them in store.url",
        ),
    ],
)
def test_only_what_a_store_answers_is_a_refusal(answer: bytes, told: str) -> None:
    with answering(answer) as port:
        assert said_of(f"redis://127.0.0.1:{port}") == told
