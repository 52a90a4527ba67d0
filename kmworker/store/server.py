"""What kind of server answers: one that can be the one primary, or not."""

from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from kmworker.errors import SetupError, StoreUnavailable

__all__ = [
    "Greeting", "greeting_in", "greeting_of", "is_forbidden", "is_nameless", "is_refused",
    "is_stranger", "refuse_replica",
]  # fmt: skip

UNFIT: Final = {
    "cluster": "the store is a node of a Redis Cluster, which is not supported",
    "sentinel": "store.url names a Sentinel, which holds no records",
}

FORBIDDEN: Final = ("NOPERM", "ACL failure in script", "The user executing the script can't")


class Greeting(NamedTuple):
    """What a server says of itself in answer to HELLO."""

    mode: str
    """``standalone``, ``cluster``, ``sentinel``; empty if it does not say."""
    role: str
    """``master``, ``replica``; empty if it does not say."""


def greeting_in(reply: Any) -> Greeting:  # noqa: ANN401  # a raw reply
    """Read the answer to HELLO.

    Also a cluster of one node is refused: it may be given a second one at any time, and what
    was written would be spread over both.

    Raises:
        SetupError: it is a server on which no worker can work.
    """
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=False)
    fields = {bytes(name): value for name, value in pairs}
    mode, role = (bytes(fields.get(name, b"")).decode() for name in (b"mode", b"role"))
    greeting = Greeting(mode, role)
    if greeting.mode in UNFIT:
        raise SetupError(
            UNFIT[greeting.mode],
            hint="kmworker needs one primary: name it in store.url, or a stable name or address"
            " that follows it (Sentinel, a proxy, a managed service without cluster mode)",
        )
    return greeting


def greeting_of(client: redis.Redis) -> Greeting:
    """Ask a server what it is.

    Raises:
        SetupError: as `greeting_in`.
        RedisError: it does not answer.
    """
    untyped: Any = client
    try:
        return greeting_in(untyped.execute_command("HELLO"))
    except ResponseError as error:
        if not is_refused(error):
            raise
        # A proxy, or a server that keeps it to itself.
        return Greeting("", "")


def refuse_replica(greeting: Greeting) -> None:
    """Refuse a server that takes no writes.

    Raises:
        StoreUnavailable: it is a replica. The name may lead to the primary the next time.
    """
    if greeting.role in {"replica", "slave"}:
        raise StoreUnavailable("the store is a replica: what is written there would be lost")


def is_forbidden(error: BaseException) -> bool:
    """Return whether it is the user who may not; a script says so in words of its own."""
    if not isinstance(error, RedisError):
        return False
    return isinstance(error, NoPermissionError) or any(it in str(error) for it in FORBIDDEN)


def is_stranger(error: BaseException) -> bool:
    """Return whether the server does not let this user in, or not with this password."""
    return isinstance(error, AuthenticationError)


def is_nameless(error: BaseException) -> bool:
    """Return whether the server lets nobody in who does not log in, and we named nobody."""
    return is_stranger(error) and getattr(error, "status_code", None) == "NOAUTH"


def is_refused(error: ResponseError) -> bool:
    """Return whether a command is refused as such, whoever it is that asks."""
    return isinstance(error, NoPermissionError) or "unknown" in str(error).lower()
