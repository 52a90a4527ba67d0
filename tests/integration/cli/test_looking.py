"""``status``, ``show``, ``explain`` and ``key export`` over what a real worker has written."""

import json
import re
import stat
from dataclasses import replace

import pytest

from tests.integration.cli.running import on_a_terminal
from tests.integration.cli.test_events import volume
from tests.integration.outside.polling import until
from tests.integration.outside.worker import Site

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
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
    alone = replace(filled, broker_url="amqp://guest:guest@127.0.0.1:1/")
    until(
        lambda: json.loads(alone.run("status", "--json").stdout)["totals"].get("items") == 3,
        "the totals are counted",
    )
    out = alone.run("status").stdout
    assert "records       items 3, keys 3, scopes 2" in out
    assert "workers       1 live of 1 seen today" in out


def test_a_fresh_store_has_a_status(site: Site) -> None:
    assert "totals        none yet" in site.run("status").stdout


def test_show_draws_what_the_worker_has_made(filled: Site) -> None:
    items = filled.reader.records("p1", "items")
    keys = {name: record["data"]["key_id"] for name, record in items.items()}
    scopes = {name: record["data"]["scope_id"] for name, record in items.items()}
    _, _, tree = filled.run("show", "volume:v2").stdout.partition("\n\n")
    assert tree.splitlines() == [
        f"scope {scopes['volume:v1']}",
        f"└── volume:v1  create  {keys['volume:v1']}  active",
        f"    └── volume:v2  clone  {keys['volume:v2']}  active",
        f"        └── scope {scopes['volume:v3']} of volume:v3, own DEK",
    ]
    found = json.loads(filled.run("show", keys["volume:v2"], "--json").stdout)
    assert (found["key"]["seal"], found["key"]["holders"]) == ("ok", 1)
    assert found["key"]["record"] == filled.reader.records("p1", "keys")[keys["volume:v2"]]


def test_explain_asks_the_store(filled: Site) -> None:
    fields = ("--project", "p1", "--set", "volume_id=v9", "--set", "size_bytes=1000")
    source = ("--set", "source.kind=volume", "--set", "source.id=v1")
    arguments = ("explain", "volume-created", *fields, *source, "--json")
    (found,) = json.loads(filled.run(*arguments).stdout)
    assert (found["decision"], found["copied_bytes"]) == ("clone", 0)
    assert set(filled.reader.records("p1", "items")) == {"volume:v1", "volume:v2", "volume:v3"}


def test_a_dek_is_exported_into_a_file_and_nowhere_else(filled: Site) -> None:
    key_id = filled.reader.records("p1", "items")["volume:v1"]["data"]["key_id"]
    path = filled.folder / "dek"
    done = filled.run("key", "export", key_id, "--project", "p1", "--output", str(path))
    dek = path.read_bytes()
    assert (len(dek), stat.S_IMODE(path.stat().st_mode)) == (64, 0o600)
    assert dek.hex() not in done.stdout + done.stderr
    filled.run("key", "export", key_id, "--project", "p1", "--output", str(path), exit_code=2)
    assert path.read_bytes() == dek


# --- terminals ---------------------------------------------------------------------


def test_a_terminal_gets_colours_unless_it_wants_none(site: Site) -> None:
    coloured = on_a_terminal(site, "status")
    plain = on_a_terminal(site, "status", NO_COLOR="1")
    assert ESCAPE.search(coloured)
    # Bold is no colour, and https://no-color.org is about colours.
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain)
    assert "totals" in ESCAPE.sub("", plain)


def test_a_program_gets_neither_colours_nor_wrapped_lines(filled: Site) -> None:
    narrow = replace(filled, settings={"COLUMNS": "20", "TERM": "xterm-256color"})
    out = narrow.run("show", "volume:v1").stdout + narrow.run("explain").stdout
    assert "\x1b" not in out
    assert any(len(line) > 90 for line in out.splitlines())
