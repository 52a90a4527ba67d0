"""The ends of chains, as those see them who make them longer.

A chain is a list: `km:{P}:endings` of a project, `km:endings` of the clients. What goes to its end
is sealed over what is the last there, and the scripts write it only behind that. A worker counts on
what it has sent: of two batches on their way, the second follows the first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog

from kmworker.domain.endings import NOTHING_ENDED, ChainEnd, EndingEntry
from kmworker.errors import PermanentError
from kmworker.store.connection import store_errors
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec

__all__ = ["Endings", "Followed", "end_in", "ends_of"]

log = structlog.get_logger()

MAX_ENDS: Final = 10_000
"""Projects whose last entry is remembered, some 500 bytes each."""


class Followed(NamedTuple):
    """An entry, and what it is to follow: what the scripts are given."""

    last: bytes
    entry: bytes


class _Last(NamedTuple):
    raw: bytes
    end: ChainEnd


class Endings:
    """Makes chains longer; remembers where they end."""

    def __init__(self, client: Any, names: Names, codec: RecordCodec) -> None:  # noqa: ANN401  # the library's types leave open whether replies are bytes
        self._client = client
        self._names = names
        self._codec = codec
        self._lasts: OrderedDict[str, _Last] = OrderedDict()

    def read(self, projects: Iterable[str]) -> dict[str, int]:
        """Look where those chains end of which it is not known; return how long these are.

        Raises:
            StoreUnavailable: the store does not answer.
            PermanentError: with `Reason.INTEGRITY`: one is not as it was sealed.
            UnknownKek: one is under a KEK that the keyring lacks.
        """
        unknown = [project for project in projects if project not in self._lasts]
        found = {}
        for project, raw in zip(unknown, ends_of(self._client, self._names, unknown), strict=True):
            if isinstance(raw, Exception):
                raise raw
            last = _Last(raw or b"", end_in(self._codec, project, raw))
            self._remember(project, last)
            found[project] = last.end.number
        return found

    def follow(self, project: str, of: Mapping[str, int]) -> Followed:
        """Return the entry that ends these, and count on its being written.

        Args:
            project: whose chain it is, as it was read; '': the clients'.
            of: by what is ended, the version that ends it.
        """
        last = self._lasts[project]
        number = last.end.number + 1
        entry = EndingEntry(number, last.end.digest, of)
        raw, digest = self._codec.ending(project, entry)
        self._remember(project, _Last(raw, ChainEnd(number, digest)))
        return Followed(last.raw, raw)

    def follow_if_sound(self, project: str, of: Mapping[str, int]) -> Followed | None:
        """Do both; what a person ends is ended, however its chain is.

        Raises:
            StoreUnavailable, UnknownKek: as `read`.
        """
        self.forget(project)
        try:
            self.read([project])
        except PermanentError as broken:
            hint = "find out who writes to the store: kmworker verify; then do this again"
            log.error(  # noqa: TRY400
                "not written down that older records end", detail=broken.detail, hint=hint
            )
            return None
        return self.follow(project, of)

    def number(self, project: str) -> int:
        """Return how long a chain is, counting what is on its way."""
        last = self._lasts.get(project)
        return 0 if last is None else last.end.number

    def forget(self, project: str) -> None:
        """Look anew where a chain ends, the next time: others have made it longer."""
        self._lasts.pop(project, None)

    def clear(self) -> None:
        """Look anew at all."""
        self._lasts.clear()

    def _remember(self, project: str, last: _Last) -> None:
        self._lasts[project] = last
        self._lasts.move_to_end(project)
        # Not so few that one of a batch goes before it is followed.
        if len(self._lasts) > MAX_ENDS:
            self._lasts.popitem(last=False)


def ends_of(client: Any, names: Names, projects: Sequence[str]) -> list[bytes | Exception | None]:  # noqa: ANN401  # as above
    """Return the last entry of each chain; the error where somebody has put another type there.

    Raises:
        StoreUnavailable: the store does not answer, or refuses.
    """
    if not projects:
        return []
    with store_errors():
        pipeline = client.pipeline(transaction=False)
        for project in projects:
            pipeline.lindex(names.endings(project), -1)
        replies = pipeline.execute(raise_on_error=False)
    return [_reply(it) for it in replies]


def _reply(reply: Any) -> bytes | Exception | None:  # noqa: ANN401  # a command's reply, or its error
    if not isinstance(reply, Exception):
        return reply if isinstance(reply, bytes) else None
    try:
        with store_errors(of_project=True):
            raise reply
    except PermanentError as of_project:
        return of_project


def end_in(codec: RecordCodec, project: str, raw: bytes | None) -> ChainEnd:
    """Return where a chain ends, by its last entry; raises as `RecordCodec.read_ending` does."""
    if raw is None:
        return NOTHING_ENDED
    entry, digest = codec.read_ending(project, raw)
    return ChainEnd(entry.number, digest)
