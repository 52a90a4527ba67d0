"""``status``, ``show``, ``explain`` and ``key export`` over what a real worker has written."""

import json
from dataclasses import replace

import pytest

from tests.integration.cli.test_events import volume
from tests.kit.outside.worker import Site, working
from tests.kit.polling import until
from tests.kit.servers import At

FAMILY = (
    volume("v1")
    + volume("v2", source={"kind": "volume", "id": "v1"})
    + volume("v3", source={"kind": "volume", "id": "v2"}, disposition="create")
)


@pytest.fixture
def filled(at_work: Site) -> Site:
    """An installation with a family of volumes."""
    at_work.run("publish", "--file", "-", stdin=FAMILY)
    until(lambda: len(at_work.reader.records("p1", "items")) == 3, "all are assigned")
    return at_work


def test_status_without_a_broker_shows_what_the_workers_have_done(filled: Site) -> None:
    alone = replace(filled, broker=At("amqp://operator:word@127.0.0.1:1/"))
    until(
        lambda: json.loads(alone.run("status", "--json").stdout)["totals"].get("items") == 3,
        "the totals are counted",
    )
    out = alone.run("status").stdout
    assert "records       items 3, keys 3, scopes 2" in out
    assert "workers       1 live of 1 seen today" in out


def test_status_asks_the_broker_what_is_queued_while_nobody_works(site: Site) -> None:
    with working(site):
        pass
    events = "".join(volume(f"v{n}") for n in range(300))
    site.run("publish", "--file", "-", stdin=events)
    out = site.run("status").stdout
    assert "work 300, dead 0 ready, 0 consumers  (as the broker says)" in out


# --- terminals ---------------------------------------------------------------------


def test_a_program_gets_neither_colours_nor_wrapped_lines(filled: Site) -> None:
    narrow = replace(filled, settings={"COLUMNS": "20", "TERM": "xterm-256color"})
    out = narrow.run("show", "volume:v1").stdout + narrow.run("explain").stdout
    assert "\x1b" not in out
    assert any(len(line) > 90 for line in out.splitlines())
