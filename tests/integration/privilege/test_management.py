"""doctor asks the management API, as an account that may do nothing else, what is in effect."""

import json
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from subprocess import CalledProcessError
from time import sleep
from typing import Any, Final

import pytest

from tests.integration.privilege.accounts import VHOST, Broker, Installation
from tests.integration.privilege.broker_acts import DEAD, WORK
from tests.kit.outside.worker import Site
from tests.kit.polling import until

# Which store there is makes no difference to what the broker says.
pytestmark = pytest.mark.parametrize("store", ["redis"], indirect=True, scope="package")

USER: Final = "doctor"
# A look is a whole command, and what it looks at is some seconds behind.
BETWEEN_LOOKS_S: Final = 1.0
PASSWORD: Final = "hunter2"  # of a broker that lives for a minute


@pytest.fixture(scope="module")
def account(broker: Broker) -> Iterator[None]:
    """The account of config/rabbitmq/README.md."""
    for command in (
        ("add_user", USER, PASSWORD),
        ("set_user_tags", USER, "management"),
        ("set_permissions", "-p", VHOST, USER, "^$", "^$", "^$"),
    ):
        broker.server.ctl(*command)
    yield
    broker.server.ctl("delete_user", USER)


@pytest.fixture
def site(installation: Installation, account: None) -> Site:
    return asking(installation, f"{USER}:{PASSWORD}")


def asking(installation: Installation, login: str, port: int = 0) -> Site:
    address = f"127.0.0.1:{port or installation.broker.server.management_port}"
    url = f"KMWORKER_BROKER__MANAGEMENT_URL=http://{login}@{address}"
    return installation.site("worker", "worker", [url])


def policies(site: Site) -> dict[str, Any]:
    done = site.run("doctor", "--json", exit_code=None)
    assert PASSWORD not in done.stdout + done.stderr
    (found,) = [it for it in json.loads(done.stdout)["checks"] if it["check"] == "policies"]
    assert json.loads(done.stdout)["ok"] == (done.returncode == 0)
    return dict(found)


def told(site: Site, *words: str) -> dict[str, Any]:
    """Ask until it knows: the API is some seconds behind."""

    def look() -> dict[str, Any]:
        found = policies(site)
        return found if all(word in found["detail"] for word in words) else {}

    return until(look, f"doctor says {words}", between=lambda: sleep(BETWEEN_LOOKS_S))


@pytest.fixture
def cleared(broker: Broker) -> Iterator[None]:
    yield
    for kind in ("policy", "operator_policy"):
        with suppress(CalledProcessError):
            broker.server.ctl(f"clear_{kind}", "-p", VHOST, "catch-all")
    # As it was; the test may have set it above the other.
    broker.server.ctl("import_definitions", str(broker.server.loaded / "definitions.json"))


def test_the_shipped_policies_are_seen_to_be_in_effect(site: Site) -> None:
    found = told(site, "5 queues")
    assert found["status"] == "ok"


def test_a_policy_above_ours_is_named_and_the_hint_mends_it(
    site: Site, broker: Broker, cleared: None
) -> None:
    policy = ("--priority", "300", "catch-all", r"^kmworker\.dead", '{"message-ttl": 86400000}')
    broker.server.ctl("set_policy", "-p", VHOST, *policy)
    found = told(site, f"{DEAD}: message-ttl 86400000, by policy catch-all")
    assert found["status"] == "failed"
    program, *command = shlex.split(found["hint"])
    assert program == "rabbitmqctl"
    broker.server.ctl(*command)
    assert told(site, "5 queues")["status"] == "ok"


def test_an_operators_policy_is_named_and_the_hint_mends_it(
    site: Site, broker: Broker, cleared: None
) -> None:
    bound = ("catch-all", f"^{WORK}$", '{"expires": 86400000}', "--apply-to", "queues")
    broker.server.ctl("set_operator_policy", "-p", VHOST, *bound)
    found = told(site, f"{WORK}: expires 86400000, by operator policy catch-all")
    assert found["status"] == "failed"
    broker.server.ctl(*shlex.split(found["hint"])[1:])
    assert told(site, "5 queues")["status"] == "ok"


def test_without_the_setting_it_says_what_it_cannot_tell(installation: Installation) -> None:
    found = policies(installation.site("worker", "worker"))
    assert found["status"] in {"warning", "not checked"}
    assert "broker.management_url" in found["hint"]
    command = found["hint"].partition(": ")[2]
    assert command.startswith("rabbitmqctl list_queues")
    assert WORK in installation.broker.server.ctl(*shlex.split(command)[1:])


@pytest.mark.parametrize("login", [f"{USER}:wrong", "worker"])
def test_an_account_that_may_not_look_is_told_what_it_lacks(
    installation: Installation, account: None, login: str
) -> None:
    if login == "worker":
        login = f"worker:{installation.broker.password('worker')}"
    found = policies(asking(installation, login))
    assert found["status"] == "failed"
    assert "this user may not look (401)" in found["detail"]
    assert "the tag management" in found["hint"]


def test_what_is_no_management_api_is_a_failure_in_words(
    installation: Installation, account: None
) -> None:
    login = f"{USER}:{PASSWORD}"
    for port in (1, installation.broker.server.port):
        found = policies(asking(installation, login, port))
        assert found["status"] == "failed"
        assert found["hint"]
    wrong = asking(installation, login)
    url = "KMWORKER_BROKER__MANAGEMENT_URL"
    elsewhere = replace(wrong, settings={url: f"{wrong.settings[url]}/elsewhere"})
    assert policies(elsewhere)["status"] == "failed"
