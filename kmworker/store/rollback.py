"""What a worker remembers of the store's commits: fewer than before, and it has lost some.

A Redis restored from an old copy, failed over to a replica that lagged, or one that could
not read its own files looks consistent, and would give items that it has forgotten a second
key. So each project's commits are numbered in the step that writes them (`commit.lua`), and
a worker compares every number that it was told with what the store says at each admission.
For projects that it never wrote to, the sum of all numbers says whether any are gone
(`commits.py`).
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import redis
import structlog
from redis.exceptions import RedisError

from kmworker.errors import SetupError
from kmworker.store.commits import INCIDENT, NUMBER, Commits, numbers_of_all, read_commits
from kmworker.store.connection import is_no_number, translate
from kmworker.store.counts import number_in
from kmworker.store.inspection import pages
from kmworker.store.names import Names
from kmworker.store.pipe import Command

__all__ = ["History", "Made", "incident_refusal", "spoilt_refusal", "standing_refusal"]

log = structlog.get_logger()

OWN: Final = "commits"
LISTED_AT_ONCE: Final = 1000


class Made(NamedTuple):
    """What a project's share of a batch came to."""

    project: str
    number: int
    """The project's newest."""
    has_written: bool
    before: int
    """What it was known to have when this was sent."""


class History:
    """One worker's memory of the store's commits, and of its own share in them.

    The share matters where others are faster: after a failover they may have counted past
    what this worker remembers before it looks.

    Attributes:
        number: the newest number of commits, of all projects, known to be on disk.
    """

    def __init__(
        self, client: redis.Redis, names: Names, *, worker_id: str, is_tolerant: bool = False
    ) -> None:
        self.number = 0
        self._newest: dict[str, int] = {}
        self._sum = 0
        self._own = 0
        # Seen to be written, and not yet added to the number of all.
        self._to_add = 0
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._key = names.top("commits")
        self._worker_key = names.worker(worker_id)
        self._is_tolerant = is_tolerant

    def unlisted(self, projects: Iterable[str]) -> list[str]:
        """Return those of the projects that this worker has not seen in the list of them."""
        return [project for project in projects if project not in self._newest]

    def listed(self, projects: Iterable[str]) -> None:
        """Note that these are in the list of projects."""
        for project in projects:
            self._newest.setdefault(project, 0)

    def newest(self, projects: Iterable[str]) -> dict[str, int]:
        """Return how many commits each of the projects is known to have."""
        return {project: self._newest.get(project, 0) for project in projects}

    def adding(self) -> list[Command]:
        """Return what adds to the number of all; to be sent once, whatever becomes of it.

        Were it sent again after a lost reply, the number could become more than the sum.
        """
        added, self._to_add = self._to_add, 0
        return [("HINCRBY", self._key, NUMBER, added)] if added else []

    def looking(self) -> list[Command]:
        """Return what to send behind a batch's commits."""
        return [("HGET", self._key, INCIDENT), ("HINCRBY", self._worker_key, OWN, 1)]

    def made(self, made: Sequence[Made], added: Sequence[Any], looked: Sequence[Any]) -> None:
        """Take up what a batch's commits have said, and the replies to `adding` and `looking`.

        Raises:
            SetupError: the store counts fewer commits than it did, or another worker saw that.
        """
        for project, number, has_written, before in made:
            # Not with the newest: of two batches on their way, the second is the first to be
            # written where a script has to be sent again.
            if number < before + has_written:
                self._refuse(number, before + has_written, project)
            self._newest[project] = max(number, self._newest.get(project, 0))
            self._to_add += has_written
        self._added(added)
        self._refuse_if_marked(self._sound(looked[0]))
        self._own = looked[1] if isinstance(looked[1], int) else self._own

    def add(self) -> None:
        """Add what is left to be added, in a round trip of its own.

        Raises:
            SetupError: as `made`.
        """
        pipeline = self._client.pipeline(transaction=False)
        for command in self.adding():
            pipeline.execute_command(*command)
        self._added(pipeline.execute(raise_on_error=False))

    def check(self) -> None:
        """Compare the store with what this worker remembers; ask after each reconnection.

        Raises:
            SetupError: as `made`.
        """
        share = self._client.pipeline(transaction=False).hget(self._worker_key, OWN)
        (own,) = share.execute(raise_on_error=False)
        found = read_commits(self._client, self._names, self._newest)
        if found.number is None:
            raise spoilt_refusal(self._key)
        self._refuse_if_marked(found.incident)
        self._compare(found)
        # For dashboards, and kept for a day: where it is missing or spoilt it says nothing.
        theirs = number_in(own) if isinstance(own, bytes) else None
        if theirs is not None and theirs < self._own:
            self._refuse(found.sum, found.sum + self._own - theirs)
        self._take_over(found)

    def refuse_if_behind(self, anchored: int) -> None:
        """Compare the store with a count that was kept elsewhere.

        Raises:
            SetupError: as `made`.
        """
        if max(self.number, self._sum) < anchored:
            # It may be this worker's number that is old: others count on, and anchor that.
            self._look()
        if max(self.number, self._sum) < anchored:
            self.check()
        if max(self.number, self._sum) < anchored:
            self._refuse(self._sum, anchored)

    def _look(self) -> None:
        """Take up the number of all, and nothing else: the sum was at least as much before."""
        number, _forgiven, incident = numbers_of_all(self._client, self._key)
        found = number_in(number)
        if found is None:
            raise spoilt_refusal(self._key)
        self._refuse_if_marked(incident)
        self.number = max(self.number, found)

    def _compare(self, found: Commits) -> None:
        for project, number in self._newest.items():
            if found.of[project] < number:
                self._refuse(found.of[project], number, project)
        wanted = max(found.number or 0, self.number, self._sum)
        if found.sum < wanted:
            self._refuse(found.sum, wanted)

    def _take_over(self, found: Commits) -> None:
        self._newest = {project: found.of[project] for project in self._newest}
        self.number, self._sum = found.number or 0, found.sum
        # It may be another server than before, or someone has written there.
        for missing in pages(self._newest.keys() - found.listed, LISTED_AT_ONCE):
            self._client.sadd(self._names.top("projects"), *missing)

    def _added(self, replies: Sequence[Any]) -> None:
        for reply in replies:
            number = self._sound(reply)
            if number_in(b"%d" % number) is None:
                # Before anybody anchors it.
                raise spoilt_refusal(self._key)
            if number < self.number:
                # Someone has taken that number away, or more than that.
                self.check()
            self.number = number

    def _sound(self, reply: Any) -> Any:  # noqa: ANN401  # a raw reply
        if isinstance(reply, RedisError):
            if is_no_number(reply) or "WRONGTYPE" in str(reply):
                raise spoilt_refusal(self._key)
            raise translate(reply)
        return reply

    def _refuse_if_marked(self, incident: bytes | None) -> None:
        if incident is not None and not self._is_tolerant:
            raise incident_refusal(incident, "the store was rolled back, as another worker saw")

    def _refuse(self, found: int, wanted: int, project: str = "") -> None:
        of = f" of project {project}" if project else ""
        self.refuse(f"of {wanted} commits{of} it has {found}")

    def refuse(self, lost: str) -> None:
        """Have all workers stop until a person decides.

        Args:
            lost: what the store has no more.

        Raises:
            SetupError: unless such a loss is to be lived with.
        """
        detail = f"the store was rolled back: {lost}"
        if self._is_tolerant:
            log.warning("store forgot commits", detail=detail)
            return
        # All workers are to stop, not only the one that has looked.
        self._client.hsetnx(self._key, INCIDENT, secrets.token_hex(4))
        raise incident_refusal(self._client.hget(self._key, INCIDENT), detail)


def standing_refusal(client: redis.Redis, names: Names) -> SetupError | None:
    """Return what every worker ends with as long as no person has decided, None for nothing.

    Raises:
        RedisError: the store does not answer, or refuses.
    """
    key = names.top("commits")
    number, _forgiven, incident = numbers_of_all(client, key)
    if number_in(number) is None:
        return spoilt_refusal(key)
    if incident is None:
        return None
    return incident_refusal(incident, "the store was rolled back")


def incident_refusal(name: bytes, detail: str) -> SetupError:
    """Return the error that names an incident and what to do about it."""
    said = name.decode(errors="replace")
    return SetupError(
        f"incident {said}: {detail}",
        hint="end all workers and restore the newest copy of the store,"
        f" or go on without what it lost: kmworker accept {said}",
    )


def spoilt_refusal(key: str) -> SetupError:
    """Return the error that says that someone wrote something else over a number of commits."""
    return SetupError(
        f"{key} does not hold a number of commits any more",
        hint="find out who wrote to the store; restore that hash from a backup, or delete it",
    )
