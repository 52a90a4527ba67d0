"""Who waits for a key on a terminal is told for what, and may leave at any moment."""

import pytest

from tests.integration.cli.running import started
from tests.integration.cli.terminal import Terminal
from tests.integration.cli.test_events import volume
from tests.kit.outside.delegating import Delegation, P, attached
from tests.kit.outside.worker import Site, program
from tests.kit.polling import until


@pytest.fixture(scope="module")
def site(delegation: Delegation) -> Site:
    delegation.tell(volume("v1", P), volume("v2", P))
    reader = delegation.site.reader
    until(lambda: len(reader.table(P, "items")) == len({"v1", "v2"}), "they have their keys")
    return delegation.hosted()


def words(site: Site, name: str) -> list[str]:
    output = str(site.folder / f"{name}.key")
    return ["client", "get", f"volume:{name}", "--project", P, "--output", output]


def test_a_person_is_told_and_leaves_at_once_and_leaves_nothing(site: Site) -> None:
    asked = words(site, "v1")
    environ = site.environment(*asked)
    with Terminal([*program(), *asked], environ, site.folder) as terminal:
        until(lambda: "no answer yet" in terminal.seen(), "it says that it waits")
        assert "or for volume:v1 to be attached here" in terminal.seen().replace("\n", "")
        terminal.interrupt()
        # Whoever is heard out is told that it is not granted: exit code 1.
        assert terminal.ended() == 130
        assert "Traceback" not in terminal.seen()
    assert not list(site.folder.glob("v1.key*"))


def test_a_program_is_told_nothing_and_gets_the_key_once_it_is_attached(
    site: Site, delegation: Delegation
) -> None:
    asked = words(site, "v2")
    with started(site, *asked) as command:
        until(lambda: _is_waited(delegation), "the request waits for its grant")
        delegation.tell(attached("v2"))
        assert command.ended() == 0
        assert command.err.read_text().startswith("kmworker: key-id ")
    assert (site.folder / "v2.key").read_bytes() == delegation.exported("v2")


def _is_waited(delegation: Delegation) -> bool:
    seen = delegation.site.reader.key_servers().values()
    return any(int(it.get("waiting", 0)) for it in seen)


def test_a_broker_that_is_away_is_named_while_it_is_waited_for(site: Site) -> None:
    away = {
        "KMWORKER_BROKER__URL": "amqp://client@127.0.0.1:1/",
        "KMWORKER_CLIENT__DEADLINE_S": "2",
    }
    asked = words(site, "v1")
    with Terminal(
        [*program(), *asked], {**site.environment(*asked), **away}, site.folder
    ) as terminal:
        assert terminal.ended() == 3
        told = terminal.seen().replace("\n", "")
    assert "waiting: " in told
    assert told.count("onnection refused") == 2
    assert "hint: ask again" in told
