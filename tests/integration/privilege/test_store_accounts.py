"""users.acl: what each account of the store may run, asked of Redis and of Valkey."""

import re
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from tests.servers import Start, StoreServer

from .accounts import CONFIG, STORE_USERS, Store, filled, store_options
from .store_commands import (
    DEKS,
    ITEMS,
    MAY,
    MAY_NOT,
    PARKED,
    READERS_COMMANDS,
    WAITING,
    WANTED_BY_ARITY,
)


@pytest.mark.parametrize("user", MAY)
def test_each_reads_what_its_job_is_about(store: Store, user: str) -> None:
    with store.client(user) as client:
        assert [command for command in MAY[user] if _is_refused(client, command)] == []


@pytest.mark.parametrize("user", MAY_NOT)
def test_everything_else_is_refused(store: Store, user: str) -> None:
    with store.client(user) as client:
        assert [command for command in MAY_NOT[user] if not _is_refused(client, command)] == []


@pytest.mark.parametrize(
    "call",
    [f"'HGET', '{DEKS}', 'f'", f"'HDEL', '{ITEMS}', 'f'", f"'DEL', '{ITEMS}'", "'FLUSHALL'"],
)
def test_a_script_gets_a_worker_no_further(store: Store, call: str) -> None:
    with store.client("worker") as client:
        reply = client.eval(f"return redis.pcall({call})['err']", 2, ITEMS, DEKS)
    assert reply is not None
    assert re.search(rb"can't run this|can't access|no permissions", reply, re.IGNORECASE), reply


@pytest.mark.parametrize(
    ("user", "more"),
    [
        ("dashboard", set()),
        ("operator", {"eval", "evalsha", "hset", "zadd", "zscore"}),
        ("key-operator", {"config|get", "info", "exec", "multi", "scan", "zmscore", "zscan"}),
    ],
)
def test_a_reader_has_its_commands_and_no_others(store: Store, user: str, more: set[str]) -> None:
    assert store.permitted(user) == READERS_COMMANDS - {"ping"} | more


@pytest.mark.parametrize(
    "call",
    [f"'HSET', '{ITEMS}', 'f', 'v'", f"'HDEL', '{WAITING}', 'f'", f"'HGET', '{PARKED}', 'f'"],
)
def test_a_script_gets_an_operator_no_further(store: Store, call: str) -> None:
    with store.client("operator") as client:
        reply = client.eval(f"return redis.pcall({call})['err']", 1, WAITING)
    assert reply is not None
    assert re.search(rb"can't run this|can't access|no permissions", reply, re.IGNORECASE), reply


@pytest.mark.parametrize("user", ["dashboard", "key-operator"])
def test_a_reader_would_not_write_even_with_a_command_too_many(user: str) -> None:
    (line,) = (line for line in _shipped() if line.startswith(f"user {user} "))
    patterns = [word.strip("()") for word in line.split() if "~" in word]
    assert patterns
    assert all(pattern.startswith("%R~km") for pattern in patterns)


def test_nobody_gets_in_before_a_password_is_set(
    start_redis: Start[StoreServer], start_valkey: Start[StoreServer], tmp_path: Path
) -> None:
    options = store_options(tmp_path, "".join(f"{line}\n" for line in _shipped()))
    for server in (start_redis(options), start_valkey(options)):
        for user in (None, "default", *STORE_USERS):
            for password in (None, "", "password", user):
                with (
                    pytest.raises(AuthenticationError),
                    _once(server.port, user, password) as client,
                ):
                    client.ping()


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
