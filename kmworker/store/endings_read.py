"""What is over in a project, as key servers know it: each chain is read once, and then what is new.

A chain that is not whole, or shorter than it was, says that somebody writes to the store who must
not: nothing of its project is believed until it is whole again.
"""

from collections import OrderedDict
from typing import Any, Final

import structlog

from kmworker.domain.endings import Chain
from kmworker.errors import PermanentError
from kmworker.store.connection import store_errors
from kmworker.store.endings import end_in, ends_of
from kmworker.store.endings_seen import EndingsSeen
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec

__all__ = ["OVER", "EndingsRead"]

log = structlog.get_logger()

PAGE_SIZE: Final = 1000
MAX_THINGS: Final = 500_000
"""Things of which a version is remembered, some 200 bytes each; chains not asked for long go first,
and are read again."""
MAX_SAID: Final = 10_000
OVER: Final = "older than what has ended it: somebody has put it back"
HINT: Final = "find out who writes to the store: kmworker verify; if it was restored on purpose,"
HINT_RESTARTED: Final = f"{HINT} restart key servers"


class _ReadChain:
    """A chain as it was read, and the last entry by which it is recognised."""

    __slots__ = ("chain", "flaw", "last")

    def __init__(self) -> None:
        self.chain = Chain()
        self.last: bytes | None = None
        self.flaw = ""


class EndingsRead:
    """Reads chains, and says what is over."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401  # the library's types leave open whether replies are bytes
        names: Names,
        codec: RecordCodec,
        seen: EndingsSeen,
        most: int = MAX_THINGS,
    ) -> None:
        """Begin with nothing read.

        Args:
            client: of the store.
            names: of its keys.
            codec: of its records.
            seen: how long each chain was seen to be, also of those that are forgotten here.
            most: of how many things a version is remembered.
        """
        self._client = client
        self._names = names
        self._codec = codec
        self._seen = seen
        self._most = most
        self._known: OrderedDict[str, _ReadChain] = OrderedDict()
        self._said: set[tuple[str, str]] = set()

    def is_known(self, project: str, last: bytes | None) -> bool:
        """Return whether the chain that ends with this entry has been read."""
        known = self._known.get(project)
        if known is None:
            # As of nearly all projects: nothing has ever ended there.
            return last is None and not self._seen.number(project)
        # What is wrong is looked at again, whatever its end is.
        return known.last == last and not known.flaw

    def flaw(self, project: str) -> str:
        """Return why nothing of a project is believed now, '' for no reason."""
        return self._known[project].flaw

    def is_over(self, project: str, thing: str, version: int) -> bool:
        """Return whether a record of this version was ended; tell of it once if it was."""
        known = self._known.get(project)
        if known is None or not known.chain.is_over(thing, version):
            return False
        if (project, thing) not in self._said:
            # Whoever asks for it asks again and again.
            if len(self._said) >= MAX_SAID:
                self._said.clear()
            self._said.add((project, thing))
            log.error(
                "a record is old", project=project, record=thing, detail=OVER, hint=HINT_RESTARTED
            )
        return True

    def read(self, project: str) -> None:
        """Read what is new in a chain.

        Raises:
            StoreUnavailable: the store does not answer.
            UnknownKek: an entry is under a KEK that the keyring lacks.
        """
        known = self._known.setdefault(project, _ReadChain())
        self._known.move_to_end(project)
        (last,) = ends_of(self._client, self._names, [project])
        flaw = ""
        try:
            if isinstance(last, Exception):
                raise last
            flaw = self._flaw_of(project, known.chain, last)
        except PermanentError as broken:
            flaw = broken.detail
        known.last = None if isinstance(last, Exception) else last
        if flaw and flaw != known.flaw:
            log.error(
                "endings are not as they were", project=project, detail=flaw, hint=HINT_RESTARTED
            )
        known.flaw = flaw
        self._forget_some()

    def _flaw_of(self, project: str, chain: Chain, last: bytes | None) -> str:
        """Take up what is new until this last entry; return what is wrong with it."""
        end = end_in(self._codec, project, last)
        if flaw := self._seen.note(project, end.number):
            return f"the list of endings was cut short: {flaw}"
        while chain.end.number < end.number:
            first = chain.end.number
            with store_errors(of_project=True):
                page = self._client.lrange(
                    self._names.endings(project), first, min(first + PAGE_SIZE, end.number) - 1
                )
            for raw in page:
                if not chain.takes(*self._codec.read_ending(project, raw)):
                    return f"ending {chain.end.number + 1} is not the one that was written"
            if not page:
                return f"ending {first + 1} is missing"
        return "" if chain.end == end else "the newest ending is not the one that was written"

    def _forget_some(self) -> None:
        things = sum(len(it.chain.versions) for it in self._known.values())
        while things > self._most and len(self._known) > 1:
            _project, known = self._known.popitem(last=False)
            things -= len(known.chain.versions)
