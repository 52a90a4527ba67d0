"""A store that version 0.1 filled, carried over with the shipped accounts and settings."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from kmworker.store.client import connect_to
from tests.integration.privilege.accounts import NAMESPACE, PREFIX, Store
from tests.kit import old_stores
from tests.kit.outside.worker import Site
from tests.kit.servers import ADMIN, At, Through

# A worker looks at the store first, and these commands at nothing else.
NO_BROKER: Final = "amqp://127.0.0.1:1//"


@dataclass(frozen=True, slots=True)
class Former:
    """A store of layout 1 with the shipped accounts, and its keyring."""

    store: Store
    folder: Path

    def site(self, user: str) -> Site:
        store = Through(self.store.server, role=user)
        return Site(self.folder, At(NO_BROKER), store, NAMESPACE, PREFIX)

    def checks(self) -> dict[str, str]:
        """What the doctor says of the store to a worker."""
        done = self.site("worker").run("doctor", "--json", exit_code=None)
        return {it["check"]: it["status"] for it in json.loads(done.stdout)["checks"]}


@pytest.fixture
def former(own_store: Store, tmp_path: Path) -> Former:
    # As whoever had it before: what is there was not written by this release.
    with connect_to(own_store.server.url_of(ADMIN), 10.0) as client:
        old_stores.fill(client, 1, PREFIX)
    old_stores.lay_keyring(1, tmp_path / "keyring")
    return Former(own_store, tmp_path)


def test_a_migrator_carries_a_store_over_and_a_worker_takes_it_then(former: Former) -> None:
    former.store.denials()
    refused = former.site("worker").run("worker", exit_code=2)
    assert "run: kmworker migrate" in refused.stdout + refused.stderr
    assert former.checks()["records"] == "failed"
    former.store.denials()
    migrator = former.site("migrator")
    rehearsed = migrator.run("migrate", "--dry-run")
    assert rehearsed.stdout == "would carry over 50 records to layout 3; nothing was written\n"
    assert migrator.run("migrate").stdout == "carried over 50 records to layout 3\n"
    assert migrator.run("migrate").stdout == "the store is of layout 3: nothing to do\n"
    assert former.store.denials() == []
    checked = former.site("key-operator").run("verify")
    assert checked.stdout.endswith("nothing is wrong\n")
    assert former.store.denials() == []
    of_store = {name: former.checks()[name] for name in ("durability", "history", "records")}
    assert set(of_store.values()) == {"ok"}, of_store
    told = former.site("dashboard").run("show", "volume:db").stdout
    assert "volume:db" in told
    assert "BROKEN" not in told
    former.store.denials()


def test_a_migration_beside_a_worker_is_refused(former: Former) -> None:
    with former.store.administrator() as client:
        client.hset("km:worker:w1", "state", "running")
        client.zadd("km:workers", {"w1": time.time()})
        refused = former.site("migrator").run("migrate", exit_code=2)
        assert "1 worker seen running, w1 among them" in refused.stderr
        assert not client.exists("km:layout")
        client.zadd("km:workers", {"w1": time.time()})
        former.site("migrator").run("migrate", "--yes")


@pytest.mark.parametrize("user", ["dashboard", "operator", "key-operator", "repairer"])
def test_nobody_else_may_carry_a_store_over(former: Former, user: str) -> None:
    refused = former.site(user).run("migrate", exit_code=None)
    assert refused.returncode in {2, 3}
    with former.store.administrator() as client:
        assert not client.exists("km:layout")
    former.store.denials()
