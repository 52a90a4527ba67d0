"""A store's KEKs in the hands of a key operator."""

from collections.abc import Iterator
from typing import Any, Final

from kmworker.clock import rfc3339
from kmworker.domain.keks import KekStates, KekStep, step_kek
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.errors import StoreUnavailable
from kmworker.store.admission import Recognised, enter
from kmworker.store.inspection import Views
from kmworker.store.kek_states import STATES, KekCustody, changes_of
from kmworker.store.scripts import Scripts
from kmworker.store.views.janitor import read_janitor
from kmworker.store.views.key_servers import read_key_servers
from kmworker.store.views.status import read_workers

__all__ = ["KekRegister"]

ROUNDS: Final = 10
# Twice as long as from one look of a janitor's to the next.
JANITOR_LIVE_S: Final = 120.0


class KekRegister:
    """Reads and changes; every method raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, views: Views, custody: KekCustody) -> None:
        self._views = views
        self._custody = custody
        self._scripts = Scripts(views.client)

    def found(self) -> Recognised:
        """Return what the store says of itself now, and have the custody go by it.

        Raises:
            NotFound: no worker has used it yet.
            SetupError: it is not of our keyring.
            UnknownKek: the keyring lacks the active KEK.
        """
        return enter(self._custody, self._views)

    def step(self, kek_id: str, what: KekStep, by: Operator) -> KekStates | NoStep:
        """Make a step; return the states since then, or why it cannot be made.

        Raises:
            StoreUnavailable: others change them all the time.
        """
        key = self._views.names.top("keyring")
        for _ in range(ROUNDS):
            found, before = self.found(), self._views.field("keyring", STATES)
            after = step_kek(found.keks, kek_id, what, by, rfc3339(self._views.clock_s()))
            if isinstance(after, NoStep):
                return after
            changed, gone = changes_of(
                after, found.source, found.layout.installation, self._custody
            )
            flat = [it for pair in changed.items() for it in pair]
            argv: list[Any] = [before, len(flat), *flat, *gone]
            (made,) = self._scripts.run([("keks", [key], argv)])
            if made:
                return after
        raise StoreUnavailable(f"the states of KEKs changed {ROUNDS} times in a row: try again")

    def lacking(self, kek_id: str) -> Iterator[str]:
        """Give the processes seen lately that do not say that they have a KEK."""
        now = self._views.clock_s()
        for worker in read_workers(self._views, now):
            if worker.is_live and kek_id not in worker.kek_ids:
                yield worker.worker_id
        for server in read_key_servers(self._views, now):
            if server.is_live and kek_id not in server.kek_ids:
                yield server.server_id
        janitor = read_janitor(self._views)
        is_live = janitor is not None and now - janitor.seen_at <= JANITOR_LIVE_S
        if janitor is not None and is_live and kek_id not in janitor.kek_ids:
            yield janitor.janitor_id

    def unregistered(self) -> list[str]:
        """Return the KEKs of our keyring that the store does not know, sorted."""
        return sorted(self._custody.kek_ids - self.found().keks.keks.keys())
