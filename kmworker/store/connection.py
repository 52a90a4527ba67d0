"""The connection to the store: what its errors mean, and whether it is durable."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from kmworker.errors import PermanentError, Reason, SetupError, StoreUnavailable
from kmworker.redis_client import Client, Gate, connect_to
from kmworker.settings import StoreSettings

__all__ = ["Client", "connect", "is_no_number", "refuse_volatile", "store_errors", "translate"]

# Replies that say "not now": the server is loading, full, failing over or read-only.
NOT_NOW: Final = (
    "OOM", "MISCONF", "READONLY", "LOADING", "BUSY", "MASTERDOWN", "NOREPLICAS",
    "CLUSTERDOWN", "TRYAGAIN", "NOAUTH", "NOPERM", "WRONGPASS", "EXECABORT",
)  # fmt: skip

# Inside a script, Redis 7.0 and Valkey say NOPERM in these words.
NOT_PERMITTED: Final = ("The user executing the script can't", "ACL failure in script")


def connect(settings: StoreSettings, gate: Gate | None = None) -> Client:
    """Return a client for the store; nothing is sent yet.

    Args:
        settings: the store's.
        gate: outside of which the client must not connect.

    Raises:
        SetupError: there is no usable `store.url`.
    """
    if settings.url is None:
        raise SetupError(
            "no store is configured",
            hint="set store.url in kmworker.toml or KMWORKER_STORE__URL, e.g. redis://127.0.0.1",
        )
    return connect_to(settings.url, settings.timeout_s, None if gate is None else gate.on_connect)


def translate(error: RedisError) -> Exception:
    """Return the error that says what happens to the event."""
    # In a pipeline, the client library puts the command first.
    text = str(error).rpartition(" of pipeline caused error: ")[2]
    if isinstance(error, ResponseError) and not isinstance(
        error, ReadOnlyError | OutOfMemoryError | NoPermissionError | AuthenticationError
    ):
        if "WRONGTYPE" in text:
            return PermanentError(
                Reason.INTEGRITY, f"the store holds a key of the wrong type: {text}"
            )
        if not text.startswith(NOT_NOW) and not any(words in text for words in NOT_PERMITTED):
            return error
    return StoreUnavailable(f"the store refuses: {text}" if text else "the store is gone")


def is_no_number(error: RedisError) -> bool:
    """Say whether a counter could not be counted up because someone wrote to it."""
    return "not an integer" in str(error) or "would overflow" in str(error)


@contextmanager
def store_errors() -> Iterator[None]:
    """Translate the client library's errors."""
    try:
        yield
    except RedisError as error:
        raise translate(error) from error


def refuse_volatile(client: Client) -> None:
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
