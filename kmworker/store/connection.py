"""A connection to the store that never repeats a write by itself.

The client library would send a whole pipeline again after a timeout. Our scripts bear
that, but what is retried, and when, is the worker's to decide: it has the batch.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from kmworker.errors import PermanentError, Reason, SetupError, StoreUnavailable
from kmworker.settings import StoreSettings, redacted_url

__all__ = ["Client", "connect", "refuse_volatile", "store_errors", "translate"]

Client = redis.Redis

# Replies that say "not now": the server is loading, full, failing over or read-only.
NOT_NOW: Final = (
    "OOM", "MISCONF", "READONLY", "LOADING", "BUSY", "MASTERDOWN", "NOREPLICAS",
    "CLUSTERDOWN", "TRYAGAIN", "NOAUTH", "NOPERM", "WRONGPASS", "EXECABORT",
)  # fmt: skip


def connect(settings: StoreSettings) -> redis.Redis:
    """Return a client for the store; nothing is sent yet.

    Raises:
        SetupError: there is no usable `store.url`.
    """
    if settings.url is None:
        raise SetupError(
            "no store is configured",
            hint="set store.url in kmworker.toml or KMWORKER_STORE__URL, e.g. redis://127.0.0.1",
        )
    url = settings.url
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except ValueError as wrong:
        raise SetupError(f"store.url {redacted_url(url)}: {wrong}") from None


def translate(error: RedisError) -> Exception:
    """Return the error that says what happens to the event."""
    text = str(error)
    if isinstance(error, ResponseError) and not isinstance(
        error, ReadOnlyError | OutOfMemoryError | NoPermissionError | AuthenticationError
    ):
        if "WRONGTYPE" in text:
            return PermanentError(
                Reason.INTEGRITY, f"the store holds a key of the wrong type: {text}"
            )
        if not text.startswith(NOT_NOW):
            return error
    return StoreUnavailable(f"the store refuses: {text}" if text else "the store is gone")


@contextmanager
def store_errors() -> Iterator[None]:
    """Translate the client library's errors."""
    try:
        yield
    except RedisError as error:
        raise translate(error) from error


def refuse_volatile(client: redis.Redis) -> None:
    """Refuse a store that could lose an acknowledged write, or evict a key.

    Raises:
        SetupError: it could, or it does not let us look.
        StoreUnavailable: it is not there.
    """
    wanted = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy")
    with store_errors():
        try:
            found = client.config_get(*wanted)
        except (NoPermissionError, ResponseError) as error:
            if not isinstance(error, NoPermissionError) and "unknown" not in str(error).lower():
                raise
            raise SetupError(
                "cannot see whether the store is durable: CONFIG GET is not permitted",
                hint="grant the worker's user +config|get, or set store.allow_volatile = true",
            ) from None
    problems = list(_volatile(found))
    if problems:
        raise SetupError(
            f"the store is not durable: {'; '.join(problems)}",
            hint="a lost write would give one item two keys; see config/redis/, "
            "or set store.allow_volatile = true for a try-out",
        )


def _volatile(found: Mapping[str | None, str | None]) -> Iterator[str]:
    if found.get("appendonly") != "yes":
        yield "appendonly is off (CONFIG SET appendonly yes)"
    if found.get("appendfsync") != "always":
        yield f"appendfsync is {found.get('appendfsync')}, not always"
    if found.get("no-appendfsync-on-rewrite") == "yes":
        yield "no-appendfsync-on-rewrite is yes"
    policy = found.get("maxmemory-policy")
    if policy != "noeviction":
        yield f"maxmemory-policy {policy} evicts keys (use noeviction)"
