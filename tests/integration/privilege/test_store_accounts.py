"""users.acl: what each account of the store may run, asked of Redis and of Valkey."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from tests.integration.privilege.accounts import CONFIG, STORE_USERS, Store, filled
from tests.integration.privilege.store_commands import (
    DEKS,
    ITEMS,
    KEYS,
    MAY,
    MAY_NOT,
    PARKED,
    READERS_COMMANDS,
    WAITING,
    WANTED_BY_ARITY,
)
from tests.kit.parties.readers import packed
from tests.kit.servers import Start, StoreServer


@pytest.fixture
def leaving_nothing(store: Store) -> Iterator[None]:
    """Take away what commands write that are run here; others use the same store."""
    yield
    with store.administrator() as client:
        client.delete(*client.scan_iter(match="km*:{p}:*", count=1000), "km:{p}")
        client.srem("km:projects", "p")
        client.zrem("km:due", "p")
        client.delete("km:outboxes", "km:reconciled", "km:revoked", "km:copies:compute-17")
        client.delete("km:endings")
        for key in ("km:clients", "km:trust", "km:unrecorded"):
            client.hdel(key, "f")


@pytest.mark.usefixtures("leaving_nothing")
@pytest.mark.parametrize("user", MAY)
def test_each_reads_what_its_job_is_about(store: Store, user: str) -> None:
    with store.client(user) as client:
        assert [command for command in MAY[user] if _is_refused(client, command)] == []


@pytest.mark.usefixtures("leaving_nothing")
@pytest.mark.parametrize("user", MAY_NOT)
def test_everything_else_is_refused(store: Store, user: str) -> None:
    with store.client(user) as client:
        assert [command for command in MAY_NOT[user] if not _is_refused(client, command)] == []


CALLS = {
    "worker": (f"'HGET', '{DEKS}', 'f'", f"'HDEL', '{ITEMS}', 'f'", f"'DEL', '{ITEMS}'",
               "'FLUSHALL'"),
    "operator": (f"'HSET', '{ITEMS}', 'f', 'v'", f"'HDEL', '{WAITING}', 'f'",
                 f"'HGET', '{PARKED}', 'f'"),
    "key-operator": (f"'HSET', '{ITEMS}', 'f', 'v'", f"'HDEL', '{KEYS}', 'f'",
                     f"'HDEL', '{DEKS}', 'f'"),
    "janitor": (f"'HGET', '{DEKS}', 'f'", f"'HSET', '{DEKS}', 'f', 'v'", "'FLUSHALL'"),
}  # fmt: skip


@pytest.mark.parametrize(("user", "call"), [(user, it) for user in CALLS for it in CALLS[user]])
def test_a_script_gets_nobody_further(store: Store, user: str, call: str) -> None:
    keys = {"worker": (ITEMS, DEKS), "key-operator": (KEYS,), "janitor": (KEYS, DEKS)}
    with store.client(user) as client:
        named = keys.get(user, (WAITING,))
        reply = client.eval(f"return redis.pcall({call})['err']", len(named), *named)
    assert reply is not None
    assert re.search(rb"can't run this|can't access|no permissions", reply, re.IGNORECASE), reply


@pytest.mark.parametrize(
    ("user", "more"),
    [
        ("dashboard", set()),
        ("operator", {"eval", "evalsha", "hset", "zadd", "zincrby", "zscore"}),
        (
            "key-operator",
            {
                "config|get",
                "info",
                "exec",
                "mget",
                "multi",
                "scan",
                "lindex",
                "llen",
                "lrange",
                "rpush",
                "zmscore",
                "zscan",
                "eval",
                "evalsha",
                "hdel",
                "hset",
                "incr",
                "set",
                "zadd",
                "zrem",
            },
        ),
    ],
)
def test_a_reader_has_its_commands_and_no_others(store: Store, user: str, more: set[str]) -> None:
    assert store.permitted(user) == READERS_COMMANDS - {"ping"} | more


@pytest.mark.parametrize("user", ["dashboard"])
def test_a_reader_would_not_write_even_with_a_command_too_many(user: str) -> None:
    (line,) = (line for line in _shipped() if line.startswith(f"user {user} "))
    patterns = [word.strip("()") for word in line.split() if "~" in word]
    assert patterns
    assert all(pattern.startswith("%R~km") for pattern in patterns)


def test_nobody_gets_in_before_a_password_is_set(
    start_redis: Start[StoreServer], start_valkey: Start[StoreServer], tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped.acl"
    shipped.write_text("".join(f"{line}\n" for line in _shipped()))
    options = {"aclfile": str(shipped)}
    for server in (start_redis(options), start_valkey(options)):
        for user in (None, "default", *STORE_USERS):
            for password in (None, "", "password", user):
                with (
                    pytest.raises(AuthenticationError),
                    _once(server.port, user, password) as client,
                ):
                    client.ping()


def test_who_does_not_say_who_it_is_can_do_nothing_and_default_is_nobody(store: Store) -> None:
    # Whatever that user may: the server reads its append-only file as it.
    with store.administrator() as client:
        client.set("km:tests", "v")
    with socket.create_connection(("127.0.0.1", store.server.port)) as stranger:
        for command in (
            "GET km:tests", "SET km:tests w", "PING", "SELECT 0", "INFO", "MULTI", "EXEC",
            "ACL WHOAMI", "EVAL return(1) 0", "SUBSCRIBE c", "RESET", "GET km:tests",
            "HELLO 3", "REPLCONF listening-port 1", "PSYNC ? -1", "SYNC",
        ):  # fmt: skip
            answer = _asked(stranger, command.split())
            assert b"NOAUTH" in answer or answer.startswith(b"+RESET"), command
        for words in (
            ["AUTH", ""],
            ["AUTH", "default", ""],
            ["AUTH", "default", "default"],
            ["HELLO", "3", "AUTH", "default", ""],
        ):
            assert _asked(stranger, words).startswith(b"-WRONGPASS"), words
            assert _asked(stranger, ["GET", "km:tests"]).startswith(b"-NOAUTH"), words
    with store.administrator() as client:
        assert client.getdel("km:tests") == b"v"
    store.denials()


def _asked(connection: socket.socket, words: list[str]) -> bytes:
    """Send a command and return the answer's first line."""
    connection.sendall(packed(*words))
    return connection.recv(4096)


def test_an_account_without_a_password_file_stays_off(tmp_path: Path) -> None:
    (tmp_path / "redis-worker").write_text("secret")
    on = [line for line in filled("redis", "users.acl", tmp_path).splitlines() if " on " in line]
    assert [line.split()[1] for line in on] == ["worker"]


def test_the_shipped_settings_are_those_that_a_worker_demands(store: Store) -> None:
    with store.client("worker") as client:
        found = client.config_get("append*", "no-appendfsync-on-rewrite", "maxmemory-policy")
    assert (
        found.items()
        >= {
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "maxmemory-policy": "noeviction",
        }.items()
    )


def _shipped() -> list[str]:
    return (CONFIG / "redis" / "users.acl").read_text().splitlines()


def _is_refused(client: redis.Redis, command: str) -> bool:
    """Run it: what the server does is what counts, not what it says that it would do."""
    name, *arguments = command.split()
    missing = WANTED_BY_ARITY.get(name, []) if len(arguments) == 1 else []
    try:
        client.execute_command(name, *arguments, *missing)
    except NoPermissionError:
        return True
    return False


def _once(port: int, user: str | None, password: str | None) -> redis.Redis:
    return redis.Redis(
        port=port, username=user, password=password, retry=Retry(NoBackoff(), 0), protocol=2
    )
