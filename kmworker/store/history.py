"""How many commits the store has seen: fewer than before, and it has lost some.

A Redis restored from an old copy, or failed over to a replica that lagged, looks
consistent, and would give items that it has forgotten a second key. So each batch's
commits are counted behind them in one pipeline: a count that is there says that
everything before it is there, too.
"""

import secrets
from collections.abc import Sequence
from typing import Any, Final

import redis
import structlog
from redis.exceptions import RedisError

from kmworker.errors import SetupError, StoreUnavailable
from kmworker.redis_pipe import Command
from kmworker.store.connection import translate
from kmworker.store.names import Names

__all__ = ["INCIDENT", "NUMBER", "History"]

log = structlog.get_logger()

NUMBER: Final = "number"
INCIDENT: Final = "incident"
OWN: Final = "commits"


class History:
    """One worker's memory of the store's count, and of its own share in it.

    The share matters where others are faster: after a failover they may have counted past
    what this worker remembers before it looks.

    Attributes:
        number: the newest count known to be on disk.
    """

    def __init__(
        self, client: redis.Redis, names: Names, *, worker_id: str, is_tolerant: bool = False
    ) -> None:
        self.number = 0
        self._own = 0
        self._client: Any = client  # its types leave open whether replies are bytes
        self._key = names.top("commits")
        self._worker_key = names.worker(worker_id)
        self._is_tolerant = is_tolerant

    def counting(self) -> list[Command]:
        """Return what to send behind a batch's commits."""
        return [
            ("HINCRBY", self._key, NUMBER, 1),
            ("HGET", self._key, INCIDENT),
            ("HINCRBY", self._worker_key, OWN, 1),
        ]

    def counted(self, replies: Sequence[Any]) -> None:
        """Take up the replies to `counting`.

        Raises:
            SetupError: the store counts fewer commits than it did, or another worker saw that.
        """
        number, incident = (self._sound(reply) for reply in replies[:2])
        self._refuse_if_marked(incident)
        if number <= self.number:
            self._refuse(number, self.number + 1)
        self.number = number
        self._own = replies[2] if isinstance(replies[2], int) else self._own

    def check(self) -> None:
        """Compare the store with what this worker remembers; ask after each reconnection.

        Raises:
            SetupError: as `counted`.
        """
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hmget(self._key, NUMBER, INCIDENT)
        pipeline.hget(self._worker_key, OWN)
        found, share = pipeline.execute(raise_on_error=False)
        number, incident = self._sound(found)
        self._refuse_if_marked(incident)
        counted = self._number(number)
        if counted < self.number:
            self._refuse(counted, self.number)
        # For dashboards, and kept for a day: where it is missing or spoilt it says nothing.
        own = int(share) if isinstance(share, bytes) and share.isdigit() else self._own
        if own < self._own:
            self._refuse(counted, counted + self._own - own)
        self.number = counted

    def refuse_if_behind(self, anchored: int) -> None:
        """Compare the store with a count that was kept elsewhere.

        Raises:
            SetupError: as `counted`.
        """
        if self.number < anchored:
            # It may be this worker's number that is old: others count on, and anchor that.
            self.check()
        if self.number < anchored:
            self._refuse(self.number, anchored)

    def _sound(self, reply: Any) -> Any:  # noqa: ANN401  # a raw reply
        if isinstance(reply, RedisError):
            error = translate(reply)
            raise self._spoilt() if not isinstance(error, StoreUnavailable) else error
        return reply

    def _number(self, text: bytes | None) -> int:
        if text is not None and not text.isdigit():
            raise self._spoilt()
        return int(text or 0)

    def _spoilt(self) -> SetupError:
        return SetupError(
            f"{self._key} does not hold a number of commits any more",
            hint="find out who wrote to the store; restore that hash from a backup, or delete it",
        )

    def _refuse_if_marked(self, incident: bytes | None) -> None:
        if incident is not None and not self._is_tolerant:
            raise _incident(incident, "the store went back in time, as another worker saw")

    def _refuse(self, found: int, wanted: int) -> None:
        detail = f"the store went back in time: of {wanted} commits it has {found}"
        if self._is_tolerant:
            log.warning("store forgot commits", detail=detail)
            return
        # All workers are to stop, not only the one that has looked.
        self._client.hsetnx(self._key, INCIDENT, secrets.token_hex(4))
        raise _incident(self._client.hget(self._key, INCIDENT), detail)


def _incident(name: bytes, detail: str) -> SetupError:
    said = name.decode(errors="replace")
    return SetupError(
        f"incident {said}: {detail}",
        hint="end all workers and restore the newest copy of the store,"
        f" or go on without what it lost: kmworker accept {said}",
    )
