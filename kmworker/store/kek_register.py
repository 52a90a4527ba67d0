"""A store's KEKs in the hands of a key operator."""

from collections.abc import Iterator
from typing import Any, Final, Protocol

from kmworker.clock import rfc3339
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord, KeptRecord
from kmworker.domain.keks import KekStates, KekStep, step_kek
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.errors import StoreUnavailable
from kmworker.ports import Custody
from kmworker.store.admission import Recognised, enter
from kmworker.store.inspection import Views
from kmworker.store.kek_states import STATES, KekCustody, changes_of
from kmworker.store.recordable import UNRECORDED, seal_kept
from kmworker.store.records import RecordCodec
from kmworker.store.scripts import Scripts
from kmworker.store.views.janitor import read_janitor
from kmworker.store.views.key_servers import read_key_servers
from kmworker.store.views.status import read_workers

__all__ = ["KekRegister", "RegisterCustody"]

ROUNDS: Final = 10
# Twice as long as from one look of a janitor's to the next.
JANITOR_LIVE_S: Final = 120.0
ACTS: Final = {
    KekStep.ADD: Act.KEK_ADDED,
    KekStep.ACTIVATE: Act.KEK_ACTIVATED,
    KekStep.COMPROMISE: Act.KEK_COMPROMISED,
    KekStep.RETIRE: Act.KEK_RETIRED,
    KekStep.REMOVE: Act.KEK_REMOVED,
}


class RegisterCustody(Custody, KekCustody, Protocol):
    """What a custody must do for whoever changes what the store says of KEKs."""


class KekRegister:
    """Reads and changes; every method raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, views: Views, custody: RegisterCustody) -> None:
        self._views = views
        self._custody = custody
        self._codec = RecordCodec(custody)
        self._scripts = Scripts(views.client)

    def found(self) -> Recognised:
        """Return what the store says of itself now, and have the custody go by it.

        Raises:
            NotFound: no worker has used it yet.
            SetupError: it is not of our keyring.
            UnknownKek: the keyring lacks the active KEK.
        """
        return enter(self._custody, self._views)

    def step(
        self, kek_id: str, what: KekStep, by: Operator, who: Actor | None = None
    ) -> KekStates | NoStep:
        """Make a step; return the states since then, or why it cannot be made.

        What is to be recorded of it is left in the store with it.

        Args:
            kek_id: of the KEK.
            what: is to become of it.
            by: who has it done, and why.
            who: the same with what else is known of them.

        Raises:
            StoreUnavailable: others change them all the time.
        """
        keys = [self._views.names.top(it) for it in ("keyring", UNRECORDED)]
        actor = who or Actor(ActorKind.OPERATOR, by.name)
        for _ in range(ROUNDS):
            found, before = self.found(), self._views.field("keyring", STATES)
            at = rfc3339(self._views.clock_s())
            after = step_kek(found.keks, kek_id, what, by, at)
            if isinstance(after, NoStep):
                return after
            changed, gone = changes_of(
                after, found.source, found.layout.installation, self._custody
            )
            flat = [it for pair in changed.items() for it in pair]
            record = AuditRecord(ACTS[what], actor, at, reason=by.reason, kek_id=kek_id)
            kept = KeptRecord(f"{record.what} {kek_id} {after.version}", record)
            told = kept.name, seal_kept(self._codec, kept)
            argv: list[Any] = [before, *told, len(flat), *flat, *gone]
            (made,) = self._scripts.run([("keks", keys, argv)])
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
