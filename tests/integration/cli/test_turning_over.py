"""A KEK is turned over while a worker runs: each step by command, as its shipped account."""

import json
from pathlib import Path
from typing import Final

from kmworker.crypto import Keyring
from tests.integration.cli.test_events import volume
from tests.integration.cli.turning import WHY, bring, kek_ids_of_live, states, tell, under
from tests.kit.outside.worker import Site, Worker, working
from tests.kit.polling import until

P: Final = "p1"


def dek(site: Site, name: str, path: Path) -> bytes:
    key_id = site.reader.records(P, "items")[f"volume:{name}"]["data"]["key_id"]
    site.run("key", "export", str(key_id), "--project", P, "--output", str(path))
    return path.read_bytes()


def test_a_kek_is_turned_over_beside_a_worker(site: Site, office: Site, tmp_path: Path) -> None:
    with working(site) as (worker,):
        tell(site, "v1", "v2")
        before = dek(office, "v1", tmp_path / "before")
        ((old, _state),) = states(office).items()

        refused = office.run("keyring", "activate", "f" * 16, *WHY, exit_code=1)
        assert "the store does not know it: kmworker keyring add" in refused.stderr
        added = office.run("keyring", "add", *WHY)
        new = added.stdout.strip()
        assert states(office) == {old: "active", new: "known"}

        refused = office.run("keyring", "activate", new, *WHY, exit_code=1)
        assert f"KEK {new} is missing where these run: " in refused.stderr
        bring(office, site)
        until(lambda: new in kek_ids_of_live(site), "the worker has taken it up")
        office.run("keyring", "activate", new, *WHY)
        assert states(office) == {old: "known", new: "active"}

        until(lambda: "KEK active" in worker_log(worker), "the worker writes under it")
        tell(site, "v3")
        assert under(site, new) == {"volume:v3"}

        refused = office.run("keyring", "retire", old, *WHY, exit_code=1)
        assert "not rewrapped yet" in refused.stderr
        rehearsed = office.run("rewrap", "--dry-run")
        assert "would rewrap" in rehearsed.stdout
        done = json.loads(office.run("rewrap", "--json").stdout)
        assert (done["flawed"], done["kek_id"]) == (0, new)
        assert under(site, old) == set()
        office.run("keyring", "retire", old, *WHY)
        assert states(office)[old] == "retired"

        tell(site, "v4")
        assert dek(office, "v1", tmp_path / "after") == before
        office.run("verify")


def worker_log(worker: Worker) -> str:
    return worker.log.read_text()


def test_an_addition_that_was_stopped_half_way_is_finished_by_the_next(
    site: Site, office: Site
) -> None:
    with working(site):
        tell(site, "v1")
        # As if it had ended between file and store.
        before = states(office).keys()
        (new,) = Keyring.grow(office.keyring).keks.keys() - before
        assert json.loads(office.run("keyring", "add", *WHY, "--json").stdout)["added"] == [new]
        assert states(office)[new] == "known"


def test_a_worker_waits_for_the_active_kek_and_goes_on_when_its_file_has_it(
    site: Site, office: Site
) -> None:
    with working(site):
        tell(site, "v1")
        new = office.run("keyring", "add", *WHY).stdout.strip()
    # None runs that could be asked.
    until(lambda: not _kek_ids_of_live(site), "it has ended")
    office.run("keyring", "activate", new, *WHY)
    with working(site) as (worker,):
        site.run("publish", "--file", "-", stdin=volume("v2", P))
        until(lambda: f"the active KEK {new}" in worker_log(worker), "it waits")
        assert "volume:v2" not in site.reader.table(P, "items")
        bring(office, site)
        until(lambda: "volume:v2" in site.reader.table(P, "items"), "it goes on")
    assert under(site, new) == {"volume:v2"}


def _kek_ids_of_live(site: Site) -> list[str]:
    status = json.loads(site.run("status", "--json").stdout)
    return [it["worker_id"] for it in status["workers"] if it["is_live"]]
