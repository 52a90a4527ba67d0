"""users.acl: what each account of the store may run, asked of Redis and of Valkey."""

import re
from pathlib import Path
from typing import Final

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from tests.servers import Start, StoreServer

from .accounts import CONFIG, STORE_USERS, Store, filled, store_options

ITEMS, KEYS, SCOPES, LINEAGE = "km:{p}:items", "km:{p}:keys", "km:{p}:scopes", "km:{p}:lineage"
WAITING, DEADLINES, STATS = "km:{p}:waiting", "km:{p}:waiting:deadlines", "km:{p}:stats"
DEKS, PARKED, EXPIRED = "kmsecret:{p}:deks", "kmsecret:{p}:parked", "kmsecret:{p}:expired"
PROJECTS, FEED, WORKER = "km:projects", "km:feed", "km:worker:host-1-abc"

# As the contract opens them, by the commands that it names.
OPEN: Final = (
    *(f"{read} {key}" for key in (ITEMS, KEYS, SCOPES, "km:{p}:holders", STATS, WAITING)
      for read in ("HGET", "HMGET", "HLEN", "HSCAN")),
    f"ZRANGEBYLEX {LINEAGE} [a (b LIMIT 0 100",
    f"ZLEXCOUNT {LINEAGE} [a (b",
    f"ZRANGE {DEADLINES} 0 0 WITHSCORES",
    f"ZRANGEBYSCORE {DEADLINES} -inf 1 LIMIT 0 100",
    f"ZCOUNT {DEADLINES} -inf 1",
    f"ZCARD {DEADLINES}",
    f"SSCAN {PROJECTS} 0",
    f"SCARD {PROJECTS}",
    *(f"HGETALL {key}" for key in ("km:totals", "km:dead", "km:queues", "km:keyring", WORKER)),
    f"HGETALL {STATS}",
    f"TTL {WORKER}",
    "ZREVRANGE km:workers 0 99 WITHSCORES",
    *(f"{read} {stream}" for stream in ("km:minutes", FEED)
      for read in ("XRANGE", "XREVRANGE", "XLEN")),
    f"TYPE {ITEMS}",
    f"EXISTS {ITEMS}",
    "PING",
)  # fmt: skip

# Their cost grows with the store, and no argument of theirs must limit it.
UNLIMITED: Final = (
    *(f"{read} {key}" for key in (ITEMS, KEYS, SCOPES, WAITING)
      for read in ("HGETALL", "HKEYS", "HVALS")),
    f"HRANDFIELD {ITEMS} 1000",
    f"SMEMBERS {PROJECTS}",
    f"SRANDMEMBER {PROJECTS} 1000",
    f"SUNION {PROJECTS}",
    f"ZUNION 1 {LINEAGE}",
    f"ZRANDMEMBER {LINEAGE} 1000",
    f"SORT {LINEAGE}",
    f"SORT_RO {LINEAGE}",
    f"DUMP {ITEMS}",
    f"MEMORY USAGE {ITEMS}",
    "XREAD BLOCK 1000 STREAMS km:feed $",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
)  # fmt: skip

WRITES: Final = (
    f"HSET {ITEMS} f v",
    f"HDEL {ITEMS} f",
    f"HINCRBY {STATS} create 1",
    f"SET {ITEMS} v",
    f"DEL {ITEMS}",
    f"UNLINK {ITEMS}",
    f"EXPIRE {ITEMS} 1",
    f"PERSIST {WORKER}",
    f"RENAME {ITEMS} km:other",
    f"COPY {ITEMS} km:other",
    f"RESTORE {ITEMS} 0 payload",
    f"SORT {LINEAGE} STORE km:other",
    f"GETDEL {ITEMS}",
    f"ZADD {LINEAGE} 0 m",
    f"ZREM {LINEAGE} m",
    f"ZRANGESTORE km:other {LINEAGE} 0 -1",
    f"SADD {PROJECTS} p",
    f"SREM {PROJECTS} p",
    f"XADD {FEED} * f v",
    f"XTRIM {FEED} MAXLEN 0",
    f"XDEL {FEED} 1-1",
    f"XGROUP CREATE {FEED} g $",
)

CODE: Final = (
    f"EVAL return(1) 1 {ITEMS}",
    f"EVAL_RO return(1) 1 {ITEMS}",
    f"EVALSHA {'0' * 40} 1 {ITEMS}",
    f"EVALSHA_RO {'0' * 40} 1 {ITEMS}",
    f"FCALL f 1 {ITEMS}",
    f"FCALL_RO f 1 {ITEMS}",
    "SCRIPT LOAD return(1)",
)

SERVER: Final = (
    "ACL LIST",
    "ACL SETUSER dashboard +@all",
    "BGREWRITEAOF",
    "BGSAVE",
    "CLIENT KILL ID 1",
    "CLIENT LIST",
    "CLIENT PAUSE 1",
    "CONFIG SET appendonly no",
    "CONFIG REWRITE",
    "DBSIZE",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION LOAD x",
    "LATENCY LATEST",
    "MIGRATE 127.0.0.1 1 k 0 1",
    "MODULE LIST",
    "MONITOR",
    "PSUBSCRIBE *",
    "PSYNC ? -1",
    "PUBLISH c m",
    "REPLICAOF 127.0.0.1 1",
    "SAVE",
    "SCRIPT FLUSH",
    "SHUTDOWN NOSAVE",
    "SLOWLOG GET",
    "SUBSCRIBE c",
    "SWAPDB 0 1",
)

ELSEWHERE: Final = ("HGET kmx:{p}:items f", "HGET other f", "HSET other f v", "TYPE kmsecrets:x")

SECRETS: Final = (
    *(
        f"{read} {key} f"
        for key in (DEKS, PARKED, EXPIRED)
        for read in ("HGET", "HMGET", "HEXISTS")
    ),
    *(f"{read} {key}" for key in (DEKS, PARKED, EXPIRED) for read in ("HLEN", "EXISTS", "TYPE")),
    f"HSCAN {DEKS} 0",
    f"HGETALL {DEKS}",
    f"HSTRLEN {DEKS} f",
)

DASHBOARD_MAY_NOT: Final = (
    *SECRETS, *WRITES, *UNLIMITED, *CODE, *SERVER, *ELSEWHERE, "CONFIG GET *", "INFO",
)  # fmt: skip

KEY_OPERATOR_MAY: Final = (
    *OPEN,
    f"HGET {DEKS} scope",
    f"HMGET {DEKS} scope",
    f"HSCAN {DEKS} 0",
    f"HSCAN {PARKED} 0",
    "CONFIG GET appendonly",
    "INFO server",
)
KEY_OPERATOR_MAY_NOT: Final = (
    *WRITES, *UNLIMITED, *CODE, *SERVER, *ELSEWHERE,
    *(f"{write} {key} f" for key in (DEKS, PARKED) for write in ("HDEL", "DEL", "UNLINK")),
    f"HSET {DEKS} f v",
    f"HGETALL {DEKS}",
)  # fmt: skip

# What it may do, its own run shows. It creates and amends, and takes away only what waits.
WORKER_MAY_NOT: Final = (
    f"HGET {DEKS} scope",
    f"HMGET {DEKS} scope",
    f"HGETALL {DEKS}",
    f"HSCAN {DEKS} 0",
    f"HSTRLEN {DEKS} scope",
    *(f"HDEL {key} f" for key in (ITEMS, KEYS, SCOPES, "km:{p}:holders", DEKS, "km:keyring")),
    *(f"{take} {key}" for key in (ITEMS, KEYS, SCOPES, DEKS, PARKED, PROJECTS, "km:keyring")
      for take in ("DEL", "UNLINK", "PERSIST", "GETDEL")),
    *(f"EXPIRE {key} 0" for key in (ITEMS, DEKS, PROJECTS, "km:keyring")),
    *(f"SET {key} v" for key in (ITEMS, DEKS, PROJECTS)),
    f"RENAME {ITEMS} km:other",
    f"COPY {DEKS} km:other",
    f"RESTORE {ITEMS} 0 payload",
    f"DUMP {DEKS}",
    f"ZREM {LINEAGE} m",
    f"ZREMRANGEBYSCORE {LINEAGE} -inf +inf",
    f"SREM {PROJECTS} p",
    f"HGETALL {ITEMS}",
    f"SMEMBERS {PROJECTS}",
    "EVAL return(1) 1 other",
    f"EVAL_RO return(1) 1 {ITEMS}",
    "SCRIPT LOAD return(1)",
    f"FCALL f 1 {ITEMS}",
    "KEYS *",
    "SCAN 0",
    "INFO",
    *SERVER,
    *ELSEWHERE,
)  # fmt: skip

WANTED_BY_ARITY: Final = {
    "HGET": ["f"], "HMGET": ["f"], "HSCAN": ["0"], "XRANGE": ["-", "+"], "XREVRANGE": ["+", "-"],
}  # fmt: skip
READERS_COMMANDS: Final = {command.split()[0].lower() for command in OPEN} | {
    "hexists", "time", "zrevrangebylex", "zrevrangebyscore",
}  # fmt: skip
"""HGETALL among them, where it is permitted at all."""


MAY: Final = {"dashboard": OPEN, "key-operator": KEY_OPERATOR_MAY}
MAY_NOT: Final = {
    "dashboard": DASHBOARD_MAY_NOT,
    "key-operator": KEY_OPERATOR_MAY_NOT,
    "worker": WORKER_MAY_NOT,
}


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


@pytest.mark.parametrize("user", ["dashboard", "key-operator"])
def test_a_reader_has_its_commands_and_no_others(store: Store, user: str) -> None:
    more = {"config|get", "info"} if user == "key-operator" else set()
    assert store.permitted(user) == READERS_COMMANDS - {"ping"} | more


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
