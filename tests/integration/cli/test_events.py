"""``publish``, ``watch`` and ``announce`` with a real broker."""

import json
import subprocess
from uuid import uuid4

import pytest

from tests.integration.cli.running import started
from tests.kit.outside.wire import said
from tests.kit.outside.words import Item
from tests.kit.outside.worker import Site, program
from tests.kit.polling import until

SIGPIPE_CODE = 141


def volume(name: str, project: str = "p1", **data: object) -> str:
    """An event, as a line of a file."""
    event = said("volume-created", str(uuid4()), project, volume_id=name, **data)
    return event.body.decode() + "\n"


def test_what_is_published_is_assigned_and_watched(at_work: Site) -> None:
    with started(at_work, "watch") as watch, started(at_work, "watch", "--json") as as_json:
        watch.until_err("listening to")
        as_json.until_err("listening to")
        fields = ("--project", "p1", "--set", "volume_id=v1", "--id", "e1")
        assert at_work.run("publish", "volume-created", *fields).stdout == "e1\n"
        (line,) = watch.until_out(1)
        (text,) = as_json.until_out(1)
        record = at_work.reader.records("p1", "items")["volume:v1"]
        assert json.loads(text)["data"] == record["data"]
        assert line.split()[1:] == [
            "p1", "volume:v1", "create", record["data"]["key_id"], "blank-volumes-get-a-key",
        ]  # fmt: skip
        watch.interrupt()
        assert watch.ended() == 0
        name = at_work.namespace
        said = f"kmworker: listening to {name}.assignments and {name}.keys\n"
        assert watch.err.read_text() == said


def test_watch_hears_one_project_only_and_ends_by_itself(at_work: Site) -> None:
    # A project may look like a longer routing key.
    with started(at_work, "watch", "--project", "p1.x", "--count", "2") as watch:
        watch.until_err("listening to")
        lines = [volume("v1", "p1.x"), volume("v2", "p1"), volume("v3", "p1.x.y")]
        at_work.run("publish", "--file", "-", stdin="".join([*lines, volume("v4", "p1.x")]))
        assert watch.process.wait(30) == 0
        assert [line.split()[2] for line in watch.until_out(2)] == ["volume:v1", "volume:v4"]


@pytest.mark.parametrize("project", ["-._:@+~=", ".", "..p1", "p1."])
def test_commands_take_any_project_and_any_id(at_work: Site, project: str) -> None:
    name = "--!#$%&'()*+,-./:;<=>?@[]^_`|~"
    with started(at_work, "watch", "--project", project, "--count", "1") as watch:
        watch.until_err("listening to")
        at_work.run("publish", "volume-created", "--project", project, "--set", f"volume_id={name}")
        assert watch.process.wait(30) == 0
        (line,) = watch.until_out(1)
    assert line.split()[1:3] == [project, f"volume:{name}"]
    assert f"volume:{name}" in at_work.run("show", f"volume:{name}", "--project", project).stdout
    told = at_work.run("announce", "--project", project, f"volume:{name}").stdout
    assert told == "announced 1 assignment\nno queue is bound for 1 of them\n"


def test_announce_says_the_same_again_to_whoever_came_late(at_work: Site) -> None:
    lines = [volume(f"v{number}") for number in range(700)]
    at_work.run("publish", "--file", "-", stdin="".join(lines))
    until(lambda: len(at_work.reader.records("p1", "items")) == 700, "all are assigned")
    with at_work.client() as client:
        assert at_work.run("announce", "--project", "p1").stdout == "announced 700 assignments\n"
        # Among them those that were recorded before, and are announced by the worker only now.
        until(lambda: len(client.announced()) == 700, "all are heard", between=client.pump)
        assert len({delivery.parsed()["id"] for delivery in client.assignments}) == 700
        subject = Item("p1", "volume", "v7").subject
        before = len(client.announced()[subject])
        done = at_work.run("announce", "--project", "p1", "volume:v7")
        assert done.stdout == "announced 1 assignment\n"
        until(
            lambda: len(client.announced()[subject]) > before,
            "it is heard again",
            between=client.pump,
        )
        first, *again = client.announced()[subject]
        assert all(each.same_as(first) for each in again)


def test_a_reader_who_has_enough_ends_the_writer_quietly(at_work: Site) -> None:
    lines = "".join(volume(f"v{number}") for number in range(3_000))
    (at_work.folder / "events").write_text(lines)
    with subprocess.Popen(
        [*program(), "publish", "--file", "events"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=at_work.environment("publish"),
        cwd=at_work.folder,
    ) as publish:
        assert publish.stdout is not None
        assert publish.stderr is not None
        assert publish.stdout.readline()
        publish.stdout.close()
        err = publish.stderr.read().decode()
        assert publish.wait(60) == SIGPIPE_CODE
    assert err.startswith("kmworker: only ")
    assert err.count("\n") == 1
