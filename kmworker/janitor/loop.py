"""The janitor: goes over the projects in which something is due, now and then.

Several may run: each project is one's at a time, by lease, and at most once an hour. Whatever
ends one, at whichever step, the next pass goes on from what is stored.
"""

from collections.abc import Callable, Iterable
from typing import Final

import structlog

from kmworker.clock import StoreClock, rfc3339
from kmworker.domain.keks import KeyringTrouble
from kmworker.domain.retention import Moment
from kmworker.errors import PermanentError, TransientError, told
from kmworker.janitor.dates import DAY_S, destroy_at
from kmworker.janitor.project import PassResult, ProjectPass
from kmworker.ports import Retention
from kmworker.settings import JanitorSettings, RetentionSettings

__all__ = ["JanitorLoop"]

log = structlog.get_logger()

# From one look at what is due to the next, and from a loss of the store to the next try.
LOOK_S: Final = 60.0
RETRY_S: Final = 5.0
STOP_POLL_S: Final = 0.2
# After which another may take it that this one has ended.
LEASE_S: Final = 60.0


class Stopped(Exception):
    """It is to end: what was counted so far is of no use."""


class JanitorLoop:
    """One process.

    Attributes:
        total: what was done since it began.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        retention: Retention,
        admit: Callable[[], bool],
        clock: StoreClock,
        time_s: Callable[[], float],
        *,
        janitor_id: str,
        kek_ids: Callable[[], Iterable[str]],
        keyring_trouble: Callable[[], KeyringTrouble | None] = lambda: None,
        keeping: RetentionSettings,
        settings: JanitorSettings,
        deadline_s: float,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            retention: the store.
            admit: checks that the store may be used; returns whether anything was ever in it.
            clock: by which it goes.
            time_s: asks the store what time it is, Unix seconds; the clock is set by it.
            janitor_id: of the leases' holder.
            kek_ids: the KEKs in its keyring.
            keyring_trouble: why its changed keyring file is not taken up.
            keeping: for how long what is kept.
            settings: how it works.
            deadline_s: for how long an event may wait for its source.
            on_step: called after each page that was counted; tests stop the process there.
        """
        self.total = PassResult()
        self._retention = retention
        self._admit = admit
        self._clock = clock
        self._time_s = time_s
        self._id = janitor_id
        self._kek_ids = kek_ids
        self._keyring_trouble = keyring_trouble
        self._keeping = keeping
        self._settings = settings
        self._deadline_s = deadline_s
        self._on_step = on_step
        self._is_stopping = False

    def stop(self) -> None:
        """Return from `run` after the page at hand."""
        self._is_stopping = True

    def run(self) -> None:
        """Work until stopped; a store that is away is waited for.

        Raises:
            SetupError: the store is not one that may be used.
        """
        while not self._is_stopping:
            try:
                self.look(waits=True)
                pause_s = min(LOOK_S, self._settings.every_s)
            except TransientError as error:
                log.warning("waiting", error=type(error).__name__, detail=str(error))
                pause_s = RETRY_S
            self._pause(pause_s)

    def _pause(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while not self._is_stopping and self._clock.monotonic() < until:
            self._clock.sleep(min(STOP_POLL_S, seconds))

    def look(self, *, waits: bool) -> PassResult:
        """Go over all projects in which something is due.

        Args:
            waits: leave those out that were gone over a moment ago.

        Raises:
            TransientError: the store is away.
            SetupError: it is not one that may be used.
        """
        found = PassResult()
        if not self._admit():
            return found
        self._clock.agree(self._time_s)
        now_s = self._clock.now()
        gone_before_s = now_s - self._keeping.tombstone_days * DAY_S
        for project in self._retention.projects_due(now_s, gone_before_s):
            if self._is_stopping:
                break
            if not self._retention.lease(project, self._id, LEASE_S) and waits:
                continue
            try:
                found.add(self._go_over(project))
            except Stopped:
                self._retention.give_lease_back(project)
                break
            self._retention.keep_lease(project, self._settings.every_s)
        self._tell(found)
        return found

    def _go_over(self, project: str) -> PassResult:
        now_s = self._clock.now()
        one = ProjectPass(
            self._retention,
            project,
            Moment(rfc3339(now_s), destroy_at(now_s, self._keeping, self._deadline_s)),
            now_s=now_s,
            tombstone_s=self._keeping.tombstone_days * DAY_S,
            may_destroy=self._may_destroy(project, now_s),
            on_page=lambda _size: self._between_pages(project),
        )
        try:
            return one.run()
        except PermanentError as broken:
            # One project's keys must not stop the rest.
            said = told(broken)
            log.error("project cannot be gone over", project=project, error=said)  # noqa: TRY400
            one.done.stopped += 1
            return one.done

    def _between_pages(self, project: str) -> None:
        """Let workers go first, and keep the lease.

        Raises:
            Stopped: it is to end.
        """
        self._on_step()
        if self._is_stopping:
            raise Stopped
        self._retention.keep_lease(project, LEASE_S)
        if self._settings.pause_ms:
            self._clock.sleep(self._settings.pause_ms / 1000)

    def _may_destroy(self, project: str, now_s: float) -> bool:
        days = self._keeping.require_reconcile_days
        if not days:
            return True
        at_s = self._retention.reconciled_at(project)
        if at_s is not None and now_s - at_s <= days * DAY_S:
            return True
        log.warning(
            "nothing is destroyed: no inventory is young enough",
            project=project,
            days=days,
            hint="kmworker reconcile --inventory FILE",
        )
        return False

    def _tell(self, found: PassResult) -> None:
        self.total.add(found)
        fields = {name: getattr(self.total, name) for name in self.total.__slots__}
        keyring = self._keyring_trouble()
        about = {
            "id": self._id,
            "kek_ids": " ".join(sorted(self._kek_ids())),
            "keyring_trouble": "" if keyring is None else keyring.flaw,
            "keyring_trouble_since": 0.0 if keyring is None else keyring.since_s,
        }
        self._retention.report({"seen_at": self._clock.now(), **about, **fields})
        done = {name: number for name in found.__slots__ if (number := getattr(found, name))}
        if done:
            log.info("gone over", **done)
