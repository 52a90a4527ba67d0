"""A KEK leaks while a worker runs: each step by command, as its shipped account."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.integration.cli.test_events import volume
from tests.integration.cli.turning import WHY, states, tell, turned_over
from tests.kit.outside.worker import Site, program, working
from tests.kit.polling import until
from tests.kit.servers import StoreServer

P: Final = "p1"
SCOPES_MANY: Final = 3_000


def compromised(site: Site) -> set[str]:
    """The roots of scopes that are."""
    return {it["root"] for it in site.reader.records(P, "scopes").values() if "compromised" in it}


def unmarked(site: Site) -> set[str]:
    return {
        name for name, key in site.reader.records(P, "keys").items() if key["state"] == "active"
    }


def leak(site: Site, kek: str, *more: str, exit_code: int = 0) -> dict[str, Any]:
    done = site.run(
        "keyring", "compromise", kek, *WHY, "--yes", "--json", *more, exit_code=exit_code
    )
    *_items, summary = done.stdout.splitlines()
    return dict(json.loads(summary))


def test_a_kek_that_leaked_is_told_rewrapped_and_retired(site: Site, office: Site) -> None:
    with working(site) as (worker,):
        tell(site, "v1", "v2")
        ((old, _state),) = states(office).items()
        refused = office.run("keyring", "compromise", old, *WHY, "--yes", exit_code=1)
        assert "activate another first" in refused.stderr
        rehearsed = office.run("keyring", "compromise", old, *WHY, "--dry-run")
        assert rehearsed.stdout.splitlines() == [
            "p1  volume:v1",
            "p1  volume:v2",
            f"KEK {old} is active; 2 items of 1 project would be hit",
        ]
        new = turned_over(site, office, worker)
        tell(site, "young")

        nobody = office.run("keyring", "compromise", old, *WHY, exit_code=2)
        assert "say yes with --yes" in nobody.stderr
        assert states(office)[old] == "known"
        summary = leak(office, old)
        assert (summary["scopes_changed"], summary["key_ids_changed"]) == (2, 2)
        assert (summary["state"], summary["items"], summary["projects"]) == ("compromised", 2, 1)
        assert compromised(site) == {"volume:v1", "volume:v2"}
        again = leak(office, old)
        assert (again["scopes_changed"], again["key_ids_changed"]) == (0, 0)

        told = office.run("rewrap")
        assert f"KEK {old} is compromised: the store is verified first" in told.stderr
        office.run("keyring", "retire", old, *WHY)
        assert states(office) == {old: "retired", new: "active"}
        assert "verified first" not in office.run("rewrap").stderr
        tell(site, "v3")
        office.run("verify")


def test_a_retired_kek_that_leaks_later_hits_what_was_under_it(site: Site, office: Site) -> None:
    with working(site) as (worker,):
        tell(site, "v1")
        ((old, _state),) = states(office).items()
        turned_over(site, office, worker)
        office.run("rewrap")
        office.run("keyring", "retire", old, *WHY)
        tell(site, "young")
        assert leak(office, old)["state"] == "retired"
        assert compromised(site) == {"volume:v1"}
        assert states(office)[old] == "retired"
        office.run("verify")


def test_what_is_forged_is_not_rewrapped(
    site: Site, office: Site, redis_server: StoreServer
) -> None:
    with working(site) as (worker,):
        tell(site, "v1", "v2")
        ((old, _state),) = states(office).items()
        turned_over(site, office, worker)
        leak(office, old)
        key = f"{site.prefix}:{{{P}}}:holders"
        with redis_server.admin() as raw:
            (key_id, *_more) = raw.hkeys(key)
            raw.hset(key, key_id, 7)
            refused = office.run("rewrap", exit_code=1)
            assert "nothing was rewrapped: 1 finding: " in refused.stderr
            assert "kmworker verify says what to do" in refused.stderr
            assert f".{old}." in str(raw.hgetall(f"{site.prefix}:layout"))
            office.run("rewrap", "--dry-run")
            office.run("verify", "--repair")
            office.run("rewrap")
            raw.hset(key, key_id, 7)
            assert "verified first" not in office.run("rewrap", "--unverified").stderr


def test_an_unknown_kek_is_none_to_be_compromised(site: Site, office: Site) -> None:
    with working(site):
        tell(site, "v1")
    refused = office.run("keyring", "compromise", "f" * 16, *WHY, "--dry-run", exit_code=1)
    assert "the store does not know it" in refused.stderr


@contextmanager
def publishing(site: Site, lines: str) -> Iterator[None]:
    """Have events come meanwhile, a few at a time."""
    (site.folder / "events").write_text(lines)
    command = [*program(), "publish", "--file", str(site.folder / "events")]
    with subprocess.Popen(
        command, env=site.environment("publish"), cwd=site.folder, stdout=subprocess.DEVNULL
    ) as process:
        yield
        assert process.wait(120) == 0


@pytest.mark.parametrize("after_s", [0.8, 1.2, 1.8])
def test_killed_under_load_it_is_run_again_and_misses_nothing(
    site: Site, office: Site, after_s: float
) -> None:
    with working(site) as (worker,):
        before = [f"v{number}" for number in range(SCOPES_MANY)]
        tell(site, *before)
        ((old, _state),) = states(office).items()
        turned_over(site, office, worker)
        young = "".join(volume(f"young{number}", P) for number in range(1_000))
        with publishing(site, young):
            arguments = ("keyring", "compromise", old, *WHY, "--yes")
            with subprocess.Popen(
                [*program(), *arguments],
                env=office.environment(*arguments),
                cwd=office.folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                try:
                    process.wait(after_s)
                except subprocess.TimeoutExpired:
                    os.kill(process.pid, signal.SIGKILL)
            leak(office, old)
        wanted = {f"volume:{name}" for name in before}
        assert compromised(site) >= wanted
        until(lambda: len(site.reader.table(P, "items")) == SCOPES_MANY + 1_000, "all are there")
        # Written under the other since then, if at all.
        scopes = site.reader.records(P, "scopes").values()
        assert {it["root"] for it in scopes if "compromised" not in it} == {
            it["root"] for it in scopes if it["kek_id"] != old
        }
        keys = site.reader.records(P, "keys")
        assert sum(it["state"] == "compromised" for it in keys.values()) == len(compromised(site))
        office.run("verify")
