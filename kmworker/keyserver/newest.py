"""What a key server has seen once: an older record in its place is no record.

A record that is put back is as authentic as it was, and no seal shows it. But a version never goes
back, and an attachment that is over is over for ever; so whoever has seen either knows better. This
is one process's memory: what changed before it started, or where nobody asked in between, it does
not know.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final, Generic, TypeVar

import structlog

from kmworker.delegation.clients import ClientRecord
from kmworker.delegation.trust_list import HandedOut
from kmworker.domain.grants import NO_GRANTS, Grants
from kmworker.domain.model import Item
from kmworker.keyserver.ports import FoundKey, KeyStore
from kmworker.ports import Pending
from kmworker.wire.answers.bodies import Asked

__all__ = ["NewestSeen"]

log = structlog.get_logger()

MAX_SEEN: Final = 100_000
"""Of each kind, some 30 MB in all; what was not asked for longest is forgotten first."""
OLDER: Final = "older than was seen before: somebody has put it back"
HINT: Final = "find out who writes to the store; if it was restored on purpose, restart key servers"

K = TypeVar("K", bound=Hashable)


class _Marks(Generic[K]):
    """The highest number that was seen of each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers: OrderedDict[K, int] = OrderedDict()

    def of(self, name: K) -> int:
        """Return it; 0 if none was."""
        return self._numbers.get(name, 0)

    def is_older(self, name: K, number: int) -> bool:
        """Note a number, and return whether a higher one was seen."""
        seen = max(self._numbers.pop(name, 0), number)
        self._numbers[name] = seen
        if len(self._numbers) > self._most:
            self._numbers.popitem(last=False)
        return number < seen


class NewestSeen:
    """A `kmworker.keyserver.ports.KeyStore` that remembers what another has given."""

    def __init__(self, store: KeyStore, most: int = MAX_SEEN) -> None:
        """Begin with no memory.

        Args:
            store: whose records they are.
            most: of how many clients, key-ids and attachments something is remembered.
        """
        self._store = store
        self._clients: _Marks[str] = _Marks(most)
        self._keys: _Marks[tuple[str, str]] = _Marks(most)
        self._over: _Marks[tuple[Item, str]] = _Marks(most)

    # --- what is looked at ---------------------------------------------------------------

    def clients(self, names: Sequence[str]) -> dict[str, ClientRecord]:
        """Return those of these that are clients; one that is older than was seen is none."""
        found = {}
        for name, client in self._store.clients(names).items():
            if self._clients.is_older(name, client.version):
                log.error("a client's record is old", client=name, detail=OLDER, hint=HINT)
            else:
                found[name] = client
        return found

    def find(self, asked: Sequence[Asked]) -> list[FoundKey]:
        """Return what is asked for; what is older than was seen is broken."""
        return [
            self._looked_at(request, found)
            for request, found in zip(asked, self._store.find(asked), strict=True)
        ]

    def _looked_at(self, asked: Asked, found: FoundKey) -> FoundKey:
        if asked.item is not None and self._revives(asked.item, found.grants):
            log.error("a record of grants is old", item=asked.item.ref, detail=OLDER, hint=HINT)
            return FoundKey(None, None, None, None, NO_GRANTS, OLDER)
        key = found.key
        if key is not None and self._keys.is_older((asked.project, key.key_id), key.version):
            log.error("a key's record is old", key_id=key.key_id, detail=OLDER, hint=HINT)
            return replace(found, state=None, key=None, scope=None, wrapped=None, flaw=OLDER)
        return found

    def _revives(self, item: Item, grants: Grants) -> bool:
        """Note what is over, and return whether something is live that was over before."""
        for it in grants.attachments:
            if it.over is not None:
                self._over.is_older((item, it.id), 1)
        return any(self._over.of((item, it.id)) for it in grants.live)

    # --- what is passed on ---------------------------------------------------------------

    def admit(self) -> str:
        """Check that this store may be used; see `KeyStore.admit`."""
        return self._store.admit()

    @property
    def installation(self) -> str:
        """Return the installation's id, once it is admitted."""
        return self._store.installation

    def follow_keyring(self) -> None:
        """Take up what has become of KEKs, and of the keyring file."""
        self._store.follow_keyring()

    def is_first(self, asked: Sequence[tuple[str, Asked]]) -> list[bool | None]:
        """Say whether nobody has asked these before; see `KeyStore.is_first`."""
        return self._store.is_first(asked)

    def note(self, asked: Sequence[tuple[str, Asked]]) -> Pending[list[bool | None]]:
        """Note requests by client and id; see `KeyStore.note`."""
        return self._store.note(asked)

    def trust(self) -> HandedOut | None:
        """Return the trust list that is handed out."""
        return self._store.trust()

    def time_s(self) -> float:
        """Return the store's time, Unix seconds."""
        return self._store.time_s()
