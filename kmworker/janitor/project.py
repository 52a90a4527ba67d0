"""One project: what is due there, counted once, and done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from kmworker.domain.model import KeyRecord
from kmworker.domain.retention import (
    ABSENT,
    Buried,
    Count,
    Destroy,
    Forget,
    KeySeen,
    Lapse,
    Leave,
    Moment,
    StillHeld,
    fate,
)
from kmworker.ports import Retention

__all__ = ["PassResult", "ProjectPass"]

log = structlog.get_logger()

# Of one project, in one pass.
MAX_DUE = 10_000
MAX_GONE = 500


@dataclass(slots=True)
class PassResult:
    """What was done."""

    destroyed: int = 0
    lapsed: int = 0
    put_right: int = 0
    """Counters that said that nobody holds what somebody does."""
    forgotten: int = 0
    """Tombstones."""
    stopped: int = 0
    """What something else was faster with, or what a record keeps from being done."""

    def add(self, other: "PassResult") -> None:
        """Add another's."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class ProjectPass:
    """Goes over one project, once."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        retention: Retention,
        project: str,
        moment: Moment,
        *,
        now_s: float,
        tombstone_s: float,
        may_destroy: bool,
        on_page: Callable[[int], None],
    ) -> None:
        """Prepare.

        Args:
            retention: the store.
            project: whose keys.
            moment: now.
            now_s: the same in Unix seconds.
            tombstone_s: for how long it is known what was deleted.
            may_destroy: whether an inventory is young enough.
            on_page: called after each page that was counted, with its size.
        """
        self._retention = retention
        self._project = project
        self._moment = moment
        self._now_s = now_s
        self._tombstone_s = tombstone_s
        self._may_destroy = may_destroy
        self._on_page = on_page
        self._clones: dict[str, bytes] = {}
        self.done = PassResult()

    def run(self) -> PassResult:
        """Do what is due."""
        due = self._retention.due(self._project, self._now_s, MAX_DUE)
        seen = self._retention.seen(self._project, due)
        # Before it is counted: what changes from here on is noticed.
        scopes = {it.key.scope_id for it in seen.values()}
        if lost := [key_id for key_id in due if key_id not in seen]:
            self._retention.not_due(self._project, lost, self._now_s)
        if seen:
            count = self._retention.count(self._project, seen, scopes, self._on_page)
            self._do_all(seen, count)
        self._forget_scopeless()
        return self.done

    def _do_all(self, seen: dict[str, KeySeen], count: Count) -> None:
        if count.flawed:
            # Any of them may hold anything.
            self.done.stopped += len(seen)
            log.error(
                "nothing is destroyed: a record fails authentication",
                project=self._project,
                record=count.flawed[0],
                records=len(count.flawed),
                hint="kmworker verify names them all",
            )
            return
        left = []
        for key_id, it in seen.items():
            if not self._do(it, count):
                left.append(key_id)
        if left:
            self._retention.not_due(self._project, left, self._now_s)

    def _do(self, seen: KeySeen, count: Count) -> bool:
        """Do what is to be done about a key-id; return whether it stays in the index."""
        match fate(seen, count, self._moment):
            case Destroy(after, is_last):
                self._destroy(seen, after, count, is_last=is_last)
            case StillHeld() as held:
                self._put_right(seen, held)
                return held.after is not None
            case Lapse(after):
                self._note(self._retention.lapse(self._project, seen, after), "lapsed")
            case Forget():
                self._forget_scope(seen, count)
            case Leave():
                return False
        return True

    def _destroy(self, seen: KeySeen, after: KeyRecord, count: Count, *, is_last: bool) -> None:
        if not self._may_destroy:
            self.done.stopped += 1
            return
        key, project = seen.key, self._project
        # Others of its scope that this pass has destroyed.
        clones = self._clones.get(key.scope_id, seen.clones_counter)
        is_done = self._retention.destroy(
            project,
            replace(seen, clones_counter=clones),
            after,
            is_last=is_last,
            forget_at_s=self._now_s + self._tombstone_s,
        )
        self._note(is_done, "destroyed")
        if is_done:
            count.named[key.scope_id].discard(key.key_id)
            # The scope's records go when this one's time has passed.
            count.last_end[key.scope_id] = (self._moment.at, key.key_id)
            self._clones[key.scope_id] = _one_less(clones)
            log.info("destroyed", project=project, key_id=key.key_id, dek=is_last)

    def _put_right(self, seen: KeySeen, held: StillHeld) -> None:
        self._note(self._retention.put_right(self._project, held, seen), "put_right")
        log.warning(
            "a key that was to be destroyed is held: its counter was wrong",
            project=self._project,
            key_id=seen.key.key_id,
            holders=held.holders,
        )

    def _forget_scope(self, seen: KeySeen, count: Count) -> None:
        """Forget a scope whose key-ids are destroyed: the tombstones, then the rest with the root.

        Its root goes with the scope's record: a creation of it would find that without the item.
        """
        retention, project, scope = self._retention, self._project, seen.scope
        root: list[Buried] = []
        for page in retention.members(project, scope.scope_id):
            if page is None:
                self.done.stopped += 1
                return
            root += [it for it in page if it.ref == scope.root]
            self._forget([it for it in page if it.ref != scope.root])
        pages = retention.members(project, scope.scope_id)
        if any(page is None or any(it.ref != scope.root for it in page) for page in pages):
            # Something waits for them.
            return
        keys = count.ended[scope.scope_id]
        pair = (scope, seen.scope_record)
        self.done.forgotten += retention.forget(project, root, pair, keys)

    def _forget_scopeless(self) -> None:
        before_s = self._now_s - self._tombstone_s
        while gone := self._retention.gone(self._project, before_s, MAX_GONE):
            if not self._forget(gone):
                return

    def _forget(self, gone: Sequence[Buried]) -> int:
        forgotten = self._retention.forget(self._project, gone) if gone else 0
        self.done.forgotten += forgotten
        return forgotten

    def _note(self, is_done: bool, what: str) -> None:  # noqa: FBT001  # what a call has returned
        name = what if is_done else "stopped"
        setattr(self.done, name, getattr(self.done, name) + 1)


def _one_less(counter: bytes) -> bytes:
    """Return what a counter says once it was counted down; what is no number stays as it is."""
    try:
        return str(int(counter) - 1).encode()
    except ValueError:
        return b"-1" if counter == ABSENT else counter
