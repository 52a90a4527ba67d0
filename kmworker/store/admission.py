"""May this worker use this store? Asked at start and after each reconnection.

A store that forgets an acknowledged write, one that has forgotten some, or one whose
records belong to another keyring, would sooner or later give one item two keys.
"""

from collections.abc import Callable, Mapping
from typing import Any

import redis

from kmworker.errors import SetupError
from kmworker.redis_client import Gate
from kmworker.store.connection import refuse_volatile, store_errors
from kmworker.store.history import History
from kmworker.store.names import Names
from kmworker.store.scripts import Scripts

__all__ = ["Admission", "check_values_in", "refuse_other_keyring"]

CHECK = "check:"


class Admission:
    """Looks at durability, at whose records the store holds, and whether it has all of them.

    Attributes:
        history: what this worker remembers of the store's commits.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        client: redis.Redis,
        names: Names,
        *,
        source: str,
        allow_volatile: bool,
        check_values: Callable[[str], Mapping[str, str]],
        worker_id: str,
        gate: Gate | None = None,
    ) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._source = source
        self._allow_volatile = allow_volatile
        self._check_values = check_values
        self.history = History(client, names, worker_id=worker_id, is_tolerant=allow_volatile)
        self._gate = gate or Gate()

    def admit(self) -> str:
        """Return the CloudEvents source that this store's announcements carry.

        The first worker's setting is remembered: announcements are repeated with the same
        bytes for as long as the store lives, whatever the setting says later.

        Raises:
            SetupError: the store may not be used.
            StoreUnavailable: it is not there.
        """
        with self._gate.opened():
            if not self._allow_volatile:
                refuse_volatile(self._client)
            with store_errors():
                found = self._read()
                if not found:
                    self._register()
                    found = self._read()
                source = self._verified(found)
                self.history.check()
                return source

    def _read(self) -> dict[str, str]:
        fields = self._client.hgetall(self._names.top("keyring"))
        return {name.decode(): value.decode() for name, value in fields.items()}

    def _register(self) -> None:
        """Write whose store this is; of two workers that start at once, one is first."""
        if self._client.scard(self._names.top("projects")):
            raise SetupError(
                "the store has records but not the keyring they belong to"
                f" ({self._names.top('keyring')} is missing)",
                hint="restore that hash from a backup of the store",
            )
        ours = self._check_values(self._source)
        checks = [part for kek_id, value in ours.items() for part in (CHECK + kek_id, value)]
        fields = ["source", self._source, "kek_ids", " ".join(sorted(ours)), *checks]
        Scripts(self._client).run([("register", [self._names.top("keyring")], fields)])

    def _verified(self, found: Mapping[str, str]) -> str:
        source = found.get("source", self._source)
        ours = self._check_values(source)
        theirs = check_values_in(found)
        refuse_other_keyring(theirs, ours, self._names.top("keyring"))
        for kek_id in ours.keys() - theirs.keys():
            self._client.hsetnx(self._names.top("keyring"), CHECK + kek_id, ours[kek_id])
        if ours.keys() != theirs.keys():
            self._client.hset(self._names.top("keyring"), "kek_ids", " ".join(sorted(ours)))
            # Whoever registered at the same moment with another keyring shows now.
            return self._verified(self._read())
        return source


def check_values_in(found: Mapping[str, str]) -> dict[str, str]:
    """Return, per kek_id, the check value that a store's keyring hash holds."""
    return {
        name.removeprefix(CHECK): value for name, value in found.items() if name.startswith(CHECK)
    }


def refuse_other_keyring(theirs: Mapping[str, str], ours: Mapping[str, str], key: str) -> None:
    """Compare the check values in a store with those of our keyring.

    Args:
        theirs: as in the store.
        ours: as our keyring makes them.
        key: where the store's are, for messages.

    Raises:
        SetupError: the store's records are under a KEK that we lack, or someone wrote there.
    """
    for kek_id, value in theirs.items():
        if kek_id not in ours:
            raise SetupError(
                f"the store's records are under KEK {kek_id}, which this keyring lacks",
                hint="use the keyring that the store was filled with, or another store",
            )
        if value != ours[kek_id]:
            raise SetupError(
                f"{key} has been altered: its check value for KEK {kek_id} is wrong",
                hint="find out who wrote to the store; restore the hash from a backup",
            )
