"""Keys that workers and the janitor write anew, and on which no record rests.

Whoever may write to the store can put something else in their place. That is named, with what
to do, and costs only what stands in that key: dashboards' view, and nobody's keys.
"""

from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from kmworker.store.connection import store_errors
from kmworker.store.names import Names

__all__ = ["DELETE_HINT", "MADE_ANEW", "WrongType", "is_wrong_type", "wrong_types"]

MADE_ANEW: Final = {
    "due": "zset", "crowded": "hash", "dead": "hash", "queues": "hash", "workers": "zset",
    "minutes": "stream", "feed": "stream", "attempts": "hash", "totals": "hash",
    "janitor": "hash", "outboxes": "zset", "keyservers": "zset",
}  # fmt: skip
DELETE_HINT: Final = "find out who wrote there, and delete it: it is written anew"


@dataclass(frozen=True, slots=True)
class WrongType:
    """A key in whose place somebody has put something else."""

    key: str
    """Its whole name."""
    found: str
    wanted: str

    def __str__(self) -> str:
        """Say it as a person should read it."""
        return f"{self.key} is a {self.found}, and should be a {self.wanted}"


def wrong_types(client: Any, names: Names) -> list[WrongType]:  # noqa: ANN401  # the library's types leave open whether replies are bytes
    """Return those of `MADE_ANEW` that are there with another type, in the order of their names.

    Where this user may not ask for types, none: reading them will say what is wrong.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    wanted = sorted(MADE_ANEW.items())
    pipeline = client.pipeline(transaction=False)
    for key, _kind in wanted:
        pipeline.type(names.top(key))
    with store_errors():
        replies = pipeline.execute(raise_on_error=False)
    return [
        WrongType(names.top(key), reply.decode(errors="replace"), kind)
        for (key, kind), reply in zip(wanted, replies, strict=True)
        if isinstance(reply, bytes) and reply.decode(errors="replace") not in {"none", kind}
    ]


def is_wrong_type(reply: object) -> bool:
    """Return whether a server's reply says that its key has another type."""
    return isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply)
