"""May this server lose what it has acknowledged? Looked at before a worker relies on it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis
from redis.exceptions import ResponseError

from kmworker.errors import SetupError
from kmworker.store.connection import store_errors
from kmworker.store.names import Names
from kmworker.store.server import is_refused

__all__ = ["refuse_volatile"]

WANTED: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
# What scripts write, which is what a server asks its user `default` about.
WRITTEN: Final = (
    ("HSET", "f", "v"), ("HDEL", "f"), ("HINCRBY", "f", "1"), ("ZADD", "0", "m"), ("ZREM", "m"),
    ("INCR",),
)  # fmt: skip
VOUCH: Final = (
    "; where the operator of the store answers for it (appendonly yes, appendfsync always,"
    ' maxmemory-policy noeviction), set store.durability = "vouched"'
)


def refuse_volatile(client: redis.Redis, names: Names) -> None:
    """Refuse a store that could lose an acknowledged write, or evict a key.

    Raises:
        SetupError: it could, or it does not let us look.
        StoreUnavailable: it is not there.
    """
    problems = [*_volatile(_settings(client)), *_unreadable(client, names)]
    if problems:
        raise SetupError(
            f"the store is not durable: {'; '.join(problems)}",
            hint="a lost write would give one item two keys; see config/redis/, "
            "or set store.allow_volatile = true for a try-out",
        )


def _settings(client: redis.Redis) -> Mapping[str, str]:
    untyped: Any = client
    refusal = None
    with store_errors():
        try:
            found: Mapping[str, str] = untyped.config_get(*WANTED)
        except ResponseError as error:
            if not is_refused(error):
                raise
            found, refusal = {}, error
    if not found.keys() >= WANTED.keys():
        raise SetupError(
            "cannot see whether the store is durable: CONFIG GET is not permitted",
            hint=f"grant its user +config|get{VOUCH}",
        ) from refusal
    return found


def _volatile(found: Mapping[str, str]) -> Iterator[str]:
    if found["appendonly"] != "yes":
        yield "appendonly is off (CONFIG SET appendonly yes)"
    if found["appendfsync"] != "always":
        yield f"appendfsync is {found['appendfsync']}, not always"
    if found["no-appendfsync-on-rewrite"] == "yes":
        yield "no-appendfsync-on-rewrite is yes"
    policy = found["maxmemory-policy"]
    if policy != "noeviction":
        yield f"maxmemory-policy {policy} evicts keys (use noeviction)"


def _unreadable(client: redis.Redis, names: Names) -> Iterator[str]:
    """Ask whether the server will be able to read what it has written.

    It reads its append-only file as user `default`, and Redis 7.0 leaves out what that user
    may not run.
    """
    key = names.of("p", "deks")
    asked: Any = client.pipeline(transaction=False)
    for command, *arguments in WRITTEN:
        asked.execute_command("ACL", "DRYRUN", "default", command, key, *arguments)
    with store_errors():
        replies = asked.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, ResponseError) and is_refused(reply):
                raise SetupError(
                    "cannot see whether the store can read its append-only file:"
                    " ACL DRYRUN is not permitted",
                    hint="take users default and worker from config/redis/users.acl,"
                    f" or grant its user +acl|dryrun{VOUCH}",
                ) from reply
            if isinstance(reply, Exception):
                raise reply
    if any(reply != b"OK" for reply in replies):
        yield (
            "its user default may not run what scripts have written, so it loses that when it"
            " starts again (ACL SETUSER default off ~* &* +@all)"
        )
