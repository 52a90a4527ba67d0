"""Tests on real servers act with the shipped accounts; an administrator is called so, and why.

The servers know nobody without a name, and no `guest`. So what is to be prevented is that the
tests' own administrator runs a worker or a command, produces or subscribes.
"""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.kit.outside.roles import COMMANDS, Roles, roles_for
from tests.kit.outside.worker import Site
from tests.kit.servers import ADMIN, Door, RabbitMQ, Server, StoreServer, Through
from tests.kit.servers.accounts import ADMIN_USER, broker_definitions, store_users

ROOT: Final = Path(__file__).resolve().parents[3]
# A URL of the administrator's, which could be handed to the product.
TAKEN: Final = re.compile(r"""(?:_of|_url|role=|broker=|store=)\(?\s*(?:ADMIN\b|["']admin["'])""")

WHO_MAY: Final = {
    "bench/servers.py": "counts and empties the store between turns",
    "bench/stage.py": "declares a peer's work queue, and counts what is in it",
    "tests/chaos/ground.py": "looks into what is closed to dashboards",
    "tests/contract/bus/test_dead_queue.py": "damages, and looks into queues",
    "tests/integration/audit/test_trail.py": "a writer that may declare, declares",
    "tests/integration/bus/conftest.py": "publishes what no honest producer sends",
    "tests/integration/bus/test_consuming.py": "a worker that may declare, declares",
    "tests/integration/bus/test_publishing.py": "a worker that may declare, declares",
    "tests/integration/bus/test_request_queue.py": "a key server that may declare, declares",
    "tests/integration/bus/test_topology.py": "a worker that may declare, declares",
    "tests/integration/client/conftest.py": "looks into queues, announces what no worker did",
    "tests/kit/outside/worker.py": "looks into what is closed to dashboards",
    "tests/integration/privilege/accounts.py": "looks into what is closed to dashboards",
    "tests/integration/privilege/test_migrating.py": "lays down what an older release wrote",
    "tests/kit/servers/broker.py": "is the kit",
    "tests/kit/servers/store.py": "is the kit",
}


def test_an_administrators_url_is_taken_where_this_list_says_and_nowhere_else() -> None:
    paths = [path for part in ("tests", "bench") for path in (ROOT / part).rglob("*.py")]
    found = {
        str(path.relative_to(ROOT))
        for path in paths
        if path != Path(__file__) and TAKEN.search(path.read_text("utf-8"))
    }
    assert found == set(WHO_MAY)


@pytest.mark.parametrize("server", [RabbitMQ, StoreServer])
def test_a_server_has_no_url_for_everybody(server: type[Server]) -> None:
    assert not hasattr(server, "url")
    with pytest.raises(TypeError):
        server.url_of(object())  # type: ignore[arg-type,call-arg]


class Named:
    """A server whose addresses are its users."""

    def url_of(self, role: str, names: str, *, port: int = 0) -> str:
        del names, port
        return ADMIN_USER if role == ADMIN else role


@pytest.mark.parametrize("server", ["store", "broker"])
def test_neither_a_worker_nor_a_command_is_run_by_the_administrator(
    tmp_path: Path, server: str
) -> None:
    door: Door = Named()
    site = Site(tmp_path, door, door, "km", "km")
    assert ADMIN_USER not in str(site.environment())
    for command in COMMANDS:
        assert ADMIN_USER not in str(site.environment(*command.split()))
    doors: dict[str, Door] = {"store": door, "broker": door, server: Through(door, role=ADMIN)}
    wrong = Site(tmp_path, doors["broker"], doors["store"], "km", "km")
    with pytest.raises(AssertionError, match="administrator"):
        wrong.run("status")


@pytest.mark.parametrize(
    ("line", "roles"),
    [
        ("worker", Roles("worker", "worker")),
        ("waiting list --json", Roles("dashboard", None)),
        ("waiting expire --project p volume:v", Roles("operator", "operator")),
        ("verify --json", Roles("key-operator", None)),
        ("verify --json --repair", Roles("repairer", "recorder")),
        ("publish --file -", Roles(None, "producer")),
        ("--version", Roles("worker", "worker")),
    ],
)
def test_a_command_has_the_accounts_of_whoever_runs_it(line: str, roles: Roles) -> None:
    assert roles_for(line.split()) == roles


def test_another_prefix_is_put_into_every_right() -> None:
    shipped, other = store_users("km"), store_users("elsewhere")
    assert len(shipped) == len(other) >= 5
    for before, after in zip(shipped, other, strict=True):
        assert "~km" not in after
        assert after.count("~elsewhere") == before.count("~km") > 0
        assert after.split()[1] == f"elsewhere.{before.split()[1]}"


def test_another_namespace_is_put_into_every_definition() -> None:
    assert "kmworker" not in str(broker_definitions("elsewhere"))
