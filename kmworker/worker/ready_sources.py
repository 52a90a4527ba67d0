"""Sources that are there while events still wait for them.

A source's arrival takes its waiting events along at once, as many as the next batches hold.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

import structlog

from kmworker.domain.model import Item
from kmworker.domain.plan import Entry
from kmworker.domain.waiting import Taken
from kmworker.errors import TransientError, told
from kmworker.ports import Store

__all__ = ["ReadySources"]

log = structlog.get_logger()


class ReadySources:
    """Sources that are there, while events still wait for them; each once."""

    def __init__(self) -> None:
        self._sources: dict[Item, None] = {}
        self._untried: dict[Entry, None] = {}
        """Taken, and counted as tried, which they were not."""
        self._skipped = False
        """Whether what was tried before has given way to the others."""

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self._sources or self._untried)

    def add(self, sources: Iterable[Item]) -> None:
        """Remember sources whose waiting events are to be taken."""
        self._sources.update(dict.fromkeys(sources))

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Let events that could not be tried be taken again, without counting this time."""
        for entry in entries:
            self._untried[entry] = None
            self._sources[entry.source] = None

    def leave(self, entries: Iterable[Entry]) -> None:
        """Let events that could not be tried wait, without counting this time."""
        self._untried.update(dict.fromkeys(entries))

    def wait_on(self, entries: Iterable[Entry]) -> None:
        """Let events wait on: their sources are not there after all."""
        for entry in entries:
            self._untried[entry] = None
            # To take from an absent source would be to take the same events for ever.
            self._sources.pop(entry.source, None)

    def single_out(self, taken: Sequence[Taken], store: Store) -> tuple[Taken | None, list[Taken]]:
        """Return what is to be tried alone, or else what is to be tried together.

        An event that was tried before is tried alone: a worker may have died of it, or of one
        that it was tried with. So the tries of all others are taken back before this one's is
        made. The next time the others have their turn: another worker may have taken the same
        event a moment ago, and will be done with it by then.
        """
        tried_before = [waiting for waiting in taken if waiting.entry.attempts > 1]
        others = [waiting for waiting in taken if waiting.entry.attempts <= 1]
        if not tried_before:
            return None, others
        self._skipped = bool(others) and not self._skipped
        if self._skipped:
            alone, together, left = None, others, tried_before
        else:
            alone, together, left = tried_before[0], [], [*tried_before[1:], *others]
            self.add([alone.entry.source])
        self.give_back(waiting.entry for waiting in left)
        self.release(store)
        return alone, together

    def release(self, store: Store) -> None:
        """Take back the tries that were none; when the store is there, so not at once."""
        if not self._untried:
            return
        try:
            store.release(list(self._untried))
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001  # a count too high is no reason to stop
            log.warning("attempts of waiting events stay counted", error=told(error))
        self._untried.clear()

    def take(self, store: Store, limit: int, at_hand: Iterable[Entry] = ()) -> list[Taken]:
        """Take waiting events, at most ``limit``; a source is done when it gives too few.

        Those ``at_hand`` are being tried already, and this is no other try.
        """
        # Asked for two each, those for which one event waits are done at once.
        sources = list(islice(self._sources, max(limit // 2, 1)))
        if not sources:
            return []
        share = limit // len(sources)
        taken: list[Taken] = []
        for source, found in zip(sources, store.take(sources, share), strict=True):
            del self._sources[source]
            if isinstance(found, Exception):
                # One project's keys must not stop the rest.
                log.warning("waiting events cannot be taken", item=source.ref, error=told(found))
                continue
            taken += found
            if len(found) >= share:
                # Behind the others: one for which a crowd waits must not keep them waiting.
                self._sources[source] = None
        return self.without(at_hand, taken)

    def without(self, at_hand: Iterable[Entry], taken: Sequence[Taken]) -> list[Taken]:
        """Leave off what is ``at_hand``: that is being tried already, and this is no other try."""
        names = {entry.name for entry in at_hand}
        self.leave(waiting.entry for waiting in taken if waiting.entry.name in names)
        return [waiting for waiting in taken if waiting.entry.name not in names]
