"""A store of a former layout, and migrations of it."""

import hashlib
import json
from typing import Any

from kmworker.crypto import FormerCustody, Keyring, KeyringCustody
from kmworker.domain.model import Held
from kmworker.store.client import Client
from kmworker.store.inspection import Views
from kmworker.store.migration import Flaw, Migration
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec, item_at
from kmworker.wire.assignments import announce
from tests.kit import old_stores
from tests.kit.store.builders import INSTALLATION
from tests.kit.store.stand import Stand

__all__ = ["MIGRATOR", "PROJECTS", "Old", "run"]

PROJECTS = ("acme", "globex", "initech", "swift-eu1", "umbrella")
"""Of each of the stores that are kept."""

MIGRATOR = "migrator"


class Old(Stand):
    """A store of a former layout.

    Attributes:
        keyring: the one that it was filled with.
    """

    keyring: Keyring

    def migration(self, client: Client | None = None, *, is_rehearsal: bool = False) -> Migration:
        """Prepare one more run."""
        keyring = self.keyring
        return Migration(
            Views(client or self.client(MIGRATOR), Names(self.prefix)),
            KeyringCustody(keyring),
            lambda installation: FormerCustody(keyring, installation),
            new_id=lambda: INSTALLATION,
            now=lambda: "2026-11-28T16:00:00Z",
            is_rehearsal=is_rehearsal,
        )

    def carry_over(self, client: Client | None = None) -> list[Flaw]:
        """Run a migration to its end; return what it left."""
        return run(self.migration(client))

    def assert_announced_again(self, layout: int) -> int:
        """See that what was announced is announced with the same bytes; return how many."""
        store = self.store()
        source, announced = store.admit(), old_stores.announced(layout)
        for body in announced:
            said = json.loads(body)
            item = item_at(said["data"]["project_id"], said["subject"].partition("/")[2].encode())
            held = store.look_up([item]).result()[item]
            assert isinstance(held, Held)
            assert announce(held, source, "").body == body
        return len(announced)

    def assert_deks_kept(self, layout: int) -> None:
        """See that each scope has the DEK that it had."""
        codec = RecordCodec(self.custody)
        for (project, scope_id), digest in old_stores.dek_digests(layout).items():
            scopes = self.value(self.key(project, "scopes"))
            scope = codec.read_scope(project, scope_id, scopes[scope_id.encode()])
            blob = self.value(self.secret(project, "deks"))[scope_id.encode()]
            assert hashlib.sha256(self.custody.unwrap(project, scope, blob)).hexdigest() == digest

    def records(self) -> dict[str, Any]:
        """Everything that is sealed, wrapped or remembered."""
        contents = self.contents()
        return {name: contents[name] for name in contents if not name.endswith(":deks")}


def run(migration: Migration) -> list[Flaw]:
    migration.begin()
    if migration.is_done:
        return []
    flaws = [flaw for step in migration.steps() for flaw in step.flaws]
    migration.finish()
    return flaws
