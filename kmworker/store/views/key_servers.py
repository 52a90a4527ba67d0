"""Key servers, as operators see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from kmworker.store.connection import store_errors
from kmworker.store.inspection import Views, finite, text_of
from kmworker.store.keyserver_reports import KEY_SERVERS
from kmworker.store.views.janitor import number_of

__all__ = ["KeyServerSeen", "read_key_servers"]

MAX_SHOWN: Final = 100
DAY_S: Final = 86_400
LIVE_S: Final = 15.0
"""Three reports."""
STOPPED: Final = "stopped"
NUMBERS: Final = ("delivered", "refused", "dropped", "waiting")
FIELDS: Final = ("state", "trouble", "kek_ids", *NUMBERS)


@dataclass(frozen=True, slots=True)
class KeyServerSeen:
    """A key server, by its last report."""

    server_id: str
    seen_at: float
    """Unix seconds."""
    is_live: bool
    state: str
    delivered: int
    refused: int
    dropped: int
    waiting: int
    trouble: str
    kek_ids: tuple[str, ...]
    """The KEKs in its keyring."""


def read_key_servers(views: Views, now: float) -> list[KeyServerSeen]:
    """Return the key servers of the last day, the latest seen first.

    Args:
        views: the store.
        now: Unix seconds.
    """
    names = views.names
    with store_errors():
        # By commands that a worker's account has, too.
        seen = views.client.zrangebyscore(
            names.top(KEY_SERVERS), now - DAY_S, "+inf", start=0, num=MAX_SHOWN, withscores=True
        )
        pipeline = views.client.pipeline(transaction=False)
        ids = [(name.decode(errors="replace"), finite(score)) for name, score in reversed(seen)]
        for server_id, _seen_at in ids:
            pipeline.hmget(names.key_server(server_id), FIELDS)
        replies = pipeline.execute(raise_on_error=False) if ids else []
    return [
        _seen(server_id, seen_at, {} if isinstance(it, RedisError) else _text(it), now)
        for (server_id, seen_at), it in zip(ids, replies, strict=True)
    ]


def _text(values: Sequence[bytes | None]) -> dict[str, str]:
    pairs = zip(FIELDS, values, strict=True)
    return text_of({name.encode(): it for name, it in pairs if it is not None})


def _seen(server_id: str, seen_at: float, fields: dict[str, str], now: float) -> KeyServerSeen:
    state = fields.get("state", "unknown")
    numbers = {name: int(number_of(fields, name)) for name in NUMBERS}
    return KeyServerSeen(
        server_id=server_id,
        seen_at=seen_at,
        is_live=state != STOPPED and now - seen_at <= LIVE_S,
        state=state,
        trouble=fields.get("trouble", ""),
        kek_ids=tuple(fields.get("kek_ids", "").split()),
        **numbers,
    )
