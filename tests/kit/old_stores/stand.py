"""A store of a former layout, and migrations of it."""

from typing import Any

from kmworker.crypto import FormerCustody, Keyring, KeyringCustody
from kmworker.store.client import Client
from kmworker.store.inspection import Views
from kmworker.store.migration import Flaw, Migration
from kmworker.store.names import Names
from tests.kit.store.builders import INSTALLATION
from tests.kit.store.stand import Stand

__all__ = ["MIGRATOR", "Old", "run"]

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
