"""A removed KEK comes back for a backup of the store from when it was in use."""

import shutil
import stat
from pathlib import Path
from typing import Final

import pytest

from tests.integration.cli.turning import (
    WHY,
    bring,
    states,
    tell,
    turned_over,
    under,
)
from tests.integration.test_store_going_back import incident_in, replace_by
from tests.kit.outside.worker import Site, Worker, working
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, Start, StoreServer

P: Final = "p1"
REFUSED: Final = 2
AT_ONCE: Final = {"KMWORKER_KEYRING__KEEP_DAYS": "0"}


@pytest.fixture
def store(start_redis: Start[StoreServer]) -> StoreServer:
    return start_redis()


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitMQ, store: StoreServer, namespace: str) -> Site:
    """An installation with a store of its own, whose files can be exchanged."""
    site = Site(tmp_path, rabbitmq, store, namespace, "km", settings=dict(AT_ONCE))
    site.lay_keyring()
    return site


def archive_of(site: Site) -> Path:
    return site.keyring.with_name("keyring.archive")


def dek(site: Site, name: str, path: Path) -> bytes:
    key_id = site.reader.records(P, "items")[f"volume:{name}"]["data"]["key_id"]
    site.run("key", "export", str(key_id), "--project", P, "--output", str(path))
    return path.read_bytes()


def retired(office: Site, old: str) -> None:
    """Rewrap and retire a KEK."""
    office.run("rewrap")
    office.run("keyring", "retire", old, *WHY)


def removed(office: Site, old: str) -> None:
    """Remove a retired KEK."""
    told = office.run("keyring", "remove", old, *WHY)
    assert told.stdout == f"KEK {old} is removed\n"
    assert str(archive_of(office)) in told.stderr
    assert stat.S_IMODE(archive_of(office).stat().st_mode) == 0o600


def test_only_what_is_retired_for_so_long_is_removed(site: Site, office: Site) -> None:
    with working(site) as (worker,):
        tell(site, "v1")
        ((old, _state),) = states(office).items()
        told = office.run("keyring", "remove", old, *WHY, exit_code=1).stderr
        assert "activate another first" in told
        new = turned_over(site, office, worker)
        told = office.run("keyring", "remove", old, *WHY, exit_code=1).stderr
        assert "retire it first" in told
        retired(office, old)
        office.settings.update(KMWORKER_KEYRING__KEEP_DAYS="400")
        told = office.run("keyring", "remove", old, *WHY, exit_code=1).stderr
        assert f"KEK {old} is retired since " in told
        assert "kept for 400 days: until " in told
        assert not archive_of(office).exists()
        office.settings.update(AT_ONCE)
        removed(office, old)
        assert states(office) == {new: "active", old: "removed"}
        assert "missing from the file" not in office.run("keyring", "status").stdout
        # Whatever stopped it, it can be run again.
        office.run("keyring", "restore", old)
        assert states(office) == {old: "removed", new: "active"}
        office.run("keyring", "remove", old, *WHY)
        office.run("keyring", "remove", old, *WHY)
        bring(office, site)
        tell(site, "v2")
        office.run("verify")


def test_a_backup_from_before_a_kek_was_turned_over_needs_it_back(
    site: Site, office: Site, store: StoreServer, tmp_path: Path
) -> None:
    with working(site) as (worker,):
        tell(site, "v1", "v2")
        ((old, _state),) = states(office).items()
        before = dek(office, "v1", tmp_path / "before")
        shutil.copytree(store.folder / "appendonlydir", tmp_path / "copy")
        new = turned_over(site, office, worker)
        retired(office, old)
        removed(office, old)
        bring(office, site)
        tell(site, "v3")
    replace_by(store, tmp_path / "copy")

    refused = Worker(site)
    assert refused.ended() == REFUSED
    assert f"kmworker keyring restore {old}" in refused.tail()
    told = office.run("verify", exit_code=2).stderr
    assert f"kmworker keyring restore {old}" in told

    office.run("keyring", "restore", old)
    bring(office, site)
    office.run("accept", incident_in(Worker(site)))
    with working(site) as (worker,):
        assert states(office) == {old: "active", new: None}
        tell(site, "v4")
        assert under(site, old) == {"volume:v1", "volume:v2", "volume:v4"}
        assert dek(office, "v1", tmp_path / "after") == before
        office.run("verify")
        # The file has the newer one: the store learns of it anew.
        assert office.run("keyring", "add", *WHY).stdout == f"{new}\n"
        # The worker that ran when the copy was made is in it, and is asked for 15 s.
        activate = ("keyring", "activate", new, *WHY)
        until(lambda: office.run(*activate, exit_code=None).returncode == 0, "it is active")
        until(lambda: "KEK active" in worker.log.read_text(), "it writes under it")
        retired(office, old)
        removed(office, old)
        assert states(office) == {new: "active", old: "removed"}
        office.run("verify")


def test_a_backup_from_before_the_rewrap_waits_for_the_kek_and_names_the_command(
    site: Site, office: Site, store: StoreServer, tmp_path: Path
) -> None:
    with working(site) as (worker,):
        tell(site, "v1")
        ((old, _state),) = states(office).items()
        new = turned_over(site, office, worker)
        shutil.copytree(store.folder / "appendonlydir", tmp_path / "copy")
        retired(office, old)
        removed(office, old)
        bring(office, site)
        tell(site, "lost")
    replace_by(store, tmp_path / "copy")
    waiting = Worker(site)
    try:
        until(lambda: f"keyring restore {old}" in waiting.tail(), "it says what it lacks")
        assert f"keyring restore {old}" in office.run("verify", exit_code=2).stderr
        office.run("keyring", "restore", old)
        bring(office, site)
        # It goes on by itself to what it would have met at once: the store was rolled back.
        office.run("accept", incident_in(waiting))
    finally:
        waiting.kill()
    with working(site):
        tell(site, "v2")
        assert states(office) == {old: "known", new: "active"}
        assert (under(site, old), under(site, new)) == ({"volume:v1"}, {"volume:v2"})
        office.run("rewrap")
        office.run("verify")
