"""Stores that earlier versions filled, carried over with the shipped accounts and settings."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from kmworker.store.client import Client, connect_to
from tests.integration.privilege.accounts import NAMESPACE, PREFIX, Store
from tests.kit import old_stores
from tests.kit.outside.worker import Site
from tests.kit.servers import ADMIN, At, Through

# A worker looks at the store first, and these commands at nothing else.
NO_BROKER: Final = "amqp://127.0.0.1:1//"
# By layout. Between layouts 2 and 3 no record changes.
RECORDS: Final = {1: 50, 2: 0}


@dataclass(frozen=True, slots=True)
class Former:
    """A store of a former layout with the shipped accounts, and its keyring."""

    store: Store
    folder: Path
    records: int
    """How many are carried over."""

    def site(self, user: str) -> Site:
        store = Through(self.store.server, role=user)
        return Site(self.folder, At(NO_BROKER), store, NAMESPACE, PREFIX)

    def checks(self) -> dict[str, str]:
        """What the doctor says of the store to a worker."""
        done = self.site("worker").run("doctor", "--json", exit_code=None)
        return {it["check"]: it["status"] for it in json.loads(done.stdout)["checks"]}


@pytest.fixture(params=RECORDS, ids=lambda layout: f"layout-{layout}")
def former(request: pytest.FixtureRequest, own_store: Store, tmp_path: Path) -> Former:
    # As whoever had it before: what is there was not written by this release.
    with connect_to(own_store.server.url_of(ADMIN), 10.0) as client:
        old_stores.fill(client, request.param, PREFIX)
    old_stores.lay_keyring(request.param, tmp_path / "keyring")
    return Former(own_store, tmp_path, RECORDS[request.param])


def test_a_migrator_carries_a_store_over_and_a_worker_takes_it_then(former: Former) -> None:
    former.store.denials()
    refused = former.site("worker").run("worker", exit_code=2)
    assert "run: kmworker migrate" in refused.stdout + refused.stderr
    assert former.checks()["records"] == "failed"
    former.store.denials()
    migrator = former.site("migrator")
    rehearsed = migrator.run("migrate", "--dry-run")
    records = f"{former.records} records to layout 3"
    assert rehearsed.stdout == f"would carry over {records}; nothing was written\n"
    assert migrator.run("migrate").stdout == f"carried over {records}\n"
    assert migrator.run("migrate").stdout == "the store is of layout 3: nothing to do\n"
    assert former.store.denials() == []
    checked = former.site("key-operator").run("verify")
    assert checked.stdout.endswith("nothing is wrong\n")
    assert former.store.denials() == []
    of_store = {name: former.checks()[name] for name in ("durability", "history", "records")}
    assert set(of_store.values()) == {"ok"}, of_store
    told = former.site("dashboard").run("show", "volume:db", "--project", "acme").stdout
    assert "volume:db" in told
    assert "BROKEN" not in told
    former.store.denials()


def _says_it_works(client: Client) -> None:
    client.hset("km:worker:w1", "state", "running")
    client.zadd("km:workers", {"w1": time.time()})


def test_a_migration_beside_a_worker_is_refused(former: Former) -> None:
    with former.store.administrator() as client:
        before = client.hgetall("km:layout")
        _says_it_works(client)
        refused = former.site("migrator").run("migrate", exit_code=2)
        assert "1 worker seen running, w1 among them" in refused.stderr
        assert client.hgetall("km:layout") == before
        _says_it_works(client)
        former.site("migrator").run("migrate", "--yes")


def test_run_again_beside_workers_that_have_the_store_it_does_nothing(former: Former) -> None:
    migrator = former.site("migrator")
    migrator.run("migrate")
    with former.store.administrator() as client:
        _says_it_works(client)
        assert migrator.run("migrate").stdout == "the store is of layout 3: nothing to do\n"


@pytest.mark.parametrize("user", ["dashboard", "operator", "key-operator", "repairer"])
def test_nobody_else_may_carry_a_store_over(former: Former, user: str) -> None:
    refused = former.site(user).run("migrate", exit_code=None)
    assert refused.returncode in {2, 3}
    with former.store.administrator() as client:
        assert client.hget("km:layout", "number") in {None, b"2"}
        assert client.hget("km:layout", "minimum") in {None, b"2"}
    former.store.denials()
