"""Fences: no project is fenced with a term that the store has not had."""

from collections.abc import Iterator

from kmworker.store.connection import store_errors
from kmworker.store.inspection import text_of
from kmworker.store.kek_states import KekCustody, states_in
from kmworker.store.layout import LayoutAltered
from kmworker.store.reading import StoreReader
from kmworker.verify.rules.findings import Finding
from kmworker.verify.rules.installation import fence_finding

__all__ = ["Fences"]


class Fences:
    """Reads them, and which term the store has when one seems to be of a later one."""

    def __init__(self, reader: StoreReader, custody: KekCustody) -> None:
        self._reader = reader
        self._custody = custody
        self._installation = ""
        self._term: int | None = None
        """None: it is not known, and nothing can be said of fences."""

    def use(self, installation: str, term: int) -> None:
        """Take what `km:keyring` has said."""
        self._installation, self._term = installation, term

    def findings(self, project: str) -> Iterator[Finding]:
        """Give what is wrong with a project's fence."""
        if self._term is None:
            return
        with store_errors():
            (fence,) = self._reader.client.mget([self._reader.names.of(project, "fence")])
        if fence_finding(project, fence, self._term) is None:
            return
        # Another KEK may have become active since then.
        self._term = self._term_now(self._term)
        found = fence_finding(project, fence, self._term)
        if found is not None:
            yield found

    def _term_now(self, before: int) -> int:
        key = self._reader.names.top("keyring")
        with store_errors():
            keyring = text_of(self._reader.client.hgetall(key))
        try:
            return states_in(keyring, self._installation, self._custody, key).term
        except LayoutAltered:
            return before
