"""Which projects have something to do in their waiting rooms, and when.

One sorted set, project by time. It is in another slot than what waits, so it is written behind
what is parked and before the event is acknowledged: what it lacks comes again. Each such write
changes a project's score, and whoever has looked at a project moves it only if the score is still
the one that was seen. So nothing that is parked during a look is put off by it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from kmworker.clock import Clock
from kmworker.domain.waiting import Due
from kmworker.store.client import Client
from kmworker.store.connection import store_errors, wrong_type_in
from kmworker.store.names import Names
from kmworker.store.pipe import Command
from kmworker.store.scripts import Scripts

__all__ = ["DueIndex", "marking"]

log = structlog.get_logger()

# Seconds: enough to change a score of this century's.
STEP_S: Final = 0.001


def marking(key: str, project: str, at: float) -> list[Command]:
    """Return what lets a project be found at a time (Unix seconds), or as soon as before."""
    return [("ZADD", key, "LT", f"{at:.3f}", project), ("ZINCRBY", key, -STEP_S, project)]


class DueIndex:
    """The index of one store's waiting rooms."""

    def __init__(self, client: Client, names: Names, scripts: Scripts, clock: Clock) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._scripts = scripts
        self._clock = clock
        self._key = names.top("due")

    def marking(self, projects: Iterable[str], after_s: float) -> list[Command]:
        """Return what lets projects be found after so many seconds, or as soon as before."""
        at = self._clock.now() + after_s
        return [command for project in projects for command in marking(self._key, project, at)]

    def marked(self, replies: Iterable[Any]) -> None:
        """Take up the replies to `marking`.

        Raises:
            StoreUnavailable: what was to be found may not be.
        """
        if (error := wrong_type_in(replies)) is not None:
            # Someone wrote there. Counting all projects finds what it lacks.
            log.error("the index of due projects cannot be written", error=str(error))

    def mark(self, projects: Iterable[str]) -> None:
        """Let projects be found at once."""
        commands = self.marking(projects, 0.0)
        if commands:
            with store_errors():
                self.marked(self._client.pipe.send(commands).result())

    def due(self, limit: int) -> list[Due]:
        """Return projects that are due, the longest due first."""
        with store_errors():
            try:
                found = self._client.zrangebyscore(
                    self._key, "-inf", self._clock.now(), start=0, num=limit, withscores=True
                )
            except RedisError as error:
                if "WRONGTYPE" not in str(error):
                    raise
                # Someone wrote there: what waits waits longer, and everything else goes on.
                log.warning("the index of due projects cannot be read", detail=str(error))
                return []
            for name, _since in found:
                if not name.isascii():
                    # No project's: whoever wrote it, nobody would ever move it.
                    self._client.zrem(self._key, name)
        return [Due(name.decode(), since) for name, since in found if name.isascii()]

    def look_again(self, looked_at: Sequence[tuple[Due, float | None]]) -> None:
        """Move projects to when they are to be looked at again, if they are where they were."""
        now = self._clock.now()
        argv: list[Any] = []
        for (due, after_s), earliest in zip(looked_at, self._earliest(looked_at), strict=True):
            # What is due already is being handled: looking at it again is for after that.
            is_ahead = earliest is not None and (after_s is None or earliest > now)
            times = [now + after_s] if after_s is not None else []
            times += [max(earliest, now)] if earliest is not None and is_ahead else []
            argv += [due.project, repr(due.since), f"{min(times):.3f}" if times else ""]
        self._scripts.run([("reindex", [self._key], argv)])

    def _earliest(self, looked_at: Sequence[tuple[Due, float | None]]) -> list[float | None]:
        """Return the next deadline in each project, None where nothing waits."""
        pipeline = self._client.pipeline(transaction=False)
        for due, _after_s in looked_at:
            key = self._names.of(due.project, "waiting:deadlines")
            pipeline.zrangebyscore(key, "-inf", "+inf", start=0, num=1, withscores=True)
        with store_errors():
            replies = pipeline.execute(raise_on_error=False)
        return [reply[0][1] if isinstance(reply, list) and reply else None for reply in replies]
