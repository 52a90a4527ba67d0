"""The short way to a store in memory: it gives the replies that fakeredis' own way gives."""

from collections.abc import Callable
from functools import partial
from typing import Any

import fakeredis
import pytest
from redis.exceptions import ResponseError

from tests.kit.simulator.explore import Case
from tests.kit.simulator.store import load_scripts
from tests.kit.store.direct import Keyspace
from tests.kit.store.fake_client import FakeClient

# Between them all scripts of the worker, an event that waits, and one that nobody can read.
PLAYED = (
    "create",
    "a snapshot before its volume; 0:50 cut after",
    "a full waiting room",
    "a conflict; 0:60 crash after",
    "two projects, and what nobody can read",
)

Commands = list[tuple[tuple[Any, ...], dict[str, Any], Any]]
"""What was sent, what the library was to know of it, and the reply."""

FILLED = (
    ("SET", "text", "7"),
    ("HSET", "hash", "a", "1", "b", "2"),
    ("SADD", "set", "one", "two"),
    ("ZADD", "zset", 1.5, "x", 2, "y"),
)
ASKED = (
    *(("TYPE", key) for key in ("text", "hash", "set", "zset", "none")),
    *(("GET", "text"), ("GET", "none"), ("GET", "hash"), ("INCR", "text"), ("INCR", "set")),
    *(("SET", "new", b"\x00\r\n", "PX", 60_000, "NX"), ("SET", "text", "", "NX"), ("SET", "text")),
    *(("MGET", "text", "none", "hash"), ("EXISTS", "hash", "none"), ("DEL", "set", "none")),
    *(("HGET", "hash", "a"), ("HGET", "none", "a"), ("HGET", "hash"), ("HLEN", "hash")),
    *(("HMGET", "hash", "a", "c"), ("HMGET", "none", "a"), ("HEXISTS", "text", "a")),
    *(("HDEL", "hash", "a", "b"), ("HDEL", "none", "a"), ("HSET", "hash", "a"), ("HSET",)),
    *(("HINCRBY", "hash", "b", "4"), ("HINCRBY", "hash", "b", "x"), ("HSETNX", "hash", "b", "1")),
    *(("HGETALL", "hash"), ("HGETALL", "none"), ("HKEYS", "hash"), ("HSCAN", "hash", 0)),
    *(("SADD", "set", "two", "three"), ("SMEMBERS", "none"), ("SSCAN", "none", 0)),
    *(("ZSCORE", "zset", "x"), ("ZSCORE", "zset", "z"), ("ZCARD", "zset"), ("ZCARD", "none")),
    *(("ZADD", "zset", "much", "x"), ("ZADD", "hash", 1, "x"), ("ZREM", "zset", "x", "y")),
    *(("ZRANGEBYSCORE", "zset", "-inf", "2", "LIMIT", 0, 9), ("ZRANGEBYLEX", "zset", "-", "+")),
    *(("ZRANGE", "zset", 0, -1, "WITHSCORES"), ("PTTL", "none"), ("PEXPIRE", "none", 9)),
    *(("NONSENSE", "a"), ("SCRIPT LOAD", "return 1"), ("KEYS", "*e*"), ("LPOP", "none", 1)),
)  # fmt: skip
SCRIPTS = (
    "return redis.call('TYPE', KEYS[1])",
    "return redis.call('HGETALL', KEYS[1])",
    "return redis.call('HMGET', KEYS[1], 'a', 'c', 'b')[2]",
    "return redis.call('ZSCORE', 'zset', 'x')",
    "return redis.pcall('INCR', KEYS[1])",
    "return redis.call('INCR', KEYS[1])",
    "redis.call('HDEL', KEYS[1], 'a', 'b') return redis.call('EXISTS', KEYS[1])",
    "return redis.call('EVAL', 'return 1', 0)",
    "return redis.call('HSET', KEYS[1], 'n', 3, 'f', 0.5)",
    "return redis.call('NONSENSE')",
    "return redis.call('HGET', KEYS[1])",
    "return redis.call('HGET', KEYS[1], {})",
    "left = 1 return 2",
)


@pytest.mark.parametrize("case", PLAYED)
def test_what_a_run_sends_is_answered_alike(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    sent: Commands = []
    short = FakeClient._execute_command

    def noted(client: FakeClient, *args: Any, **options: Any) -> Any:
        reply = _reply(partial(short, client, *args, **options))
        sent.append((args, options, reply))
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    with monkeypatch.context() as during:
        during.setattr(FakeClient, "_execute_command", noted)
        Case.read(case).run()

    server = fakeredis.FakeServer()
    load_scripts(server)
    own: Any = fakeredis.FakeRedis(server=server)
    assert any(args[0] == "EVALSHA" for args, _options, _reply in sent)
    for args, options, reply in sent:
        again = _reply(partial(own.execute_command, *args, **options))
        # What is left of a time is less the second time.
        if args[0] != "PTTL":
            assert _plain(again) == _plain(reply), args


@pytest.mark.parametrize("command", ASKED, ids=lambda it: " ".join(map(str, it)))
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_command_alone_is_answered_alike(command: tuple[Any, ...], protocol: int) -> None:
    _check_alike(command, protocol)


@pytest.mark.parametrize("key", ["text", "hash", "none"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_alone_is_answered_alike(script: str, key: str) -> None:
    _check_alike(("EVAL", script, 1, key), 2)


def test_what_is_held_is_what_commands_read() -> None:
    server = fakeredis.FakeServer()
    client: Any = FakeClient(server=server)
    for command in FILLED:
        client.execute_command(*command)
    keyspace = Keyspace(server)
    assert (keyspace.text("text"), keyspace.text("none")) == (b"7", None)
    assert (keyspace.field("hash", "a"), keyspace.field("hash", "c")) == (b"1", None)
    assert keyspace.field("none", "a") is None
    assert (keyspace.fields("hash"), keyspace.fields("none")) == ({b"a", b"b"}, set())
    assert (keyspace.members("set"), keyspace.members("none")) == ({b"one", b"two"}, set())


def _check_alike(command: tuple[Any, ...], protocol: int) -> None:
    """See that a command gets the same reply either way, and leaves the same behind."""
    short: Any = FakeClient(server=fakeredis.FakeServer(), protocol=protocol)
    own: Any = fakeredis.FakeRedis(server=fakeredis.FakeServer(), protocol=protocol)
    for fill in FILLED:
        assert short.execute_command(*fill) == own.execute_command(*fill)
    replies = [_plain(_reply(partial(it.execute_command, *command))) for it in (short, own)]
    assert replies[0] == replies[1]
    assert _left(short) == _left(own)


def _left(client: Any) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.keys("*")}


def _reply(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ResponseError as error:
        return error


def _plain(reply: Any) -> Any:
    return (type(reply), str(reply)) if isinstance(reply, ResponseError) else reply
