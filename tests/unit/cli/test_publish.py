"""``kmworker publish``, with a broker that takes everything."""

import json
from pathlib import Path

import pytest

from kmworker.errors import BrokerUnavailable
from tests.kit.cli.stand import GOOD, Broker, document, failed, lines, run, said

VOLUME = ("volume-created", "--project", "p1", "--set", "volume_id=v1", "--id", "e1")
MANY = lines(*({**GOOD, "id": f"e{number}"} for number in range(1_100)))


def test_an_event_of_words_is_published_and_its_id_printed(broker: Broker) -> None:
    assert said(run("publish", *VOLUME)) == (0, "e1\n", "")
    (message,) = broker.published
    assert (message.exchange, message.routing_key) == ("kmworker.events", "volume-created")
    assert json.loads(message.body)["data"] == {"project_id": "p1", "volume_id": "v1"}
    assert broker.is_closed


def test_many_are_published_in_batches(broker: Broker, folder: Path) -> None:
    (folder / "events.jsonl").write_bytes(MANY)
    result = run("publish", "--file", "events.jsonl")
    assert result.exit_code == 0
    assert broker.batches == [500, 500, 100]
    assert result.stdout.splitlines() == [f"e{number}" for number in range(1_100)]


def test_one_bad_line_is_named_and_nothing_is_published(broker: Broker, folder: Path) -> None:
    bad = {**GOOD, "data": {"project_id": "p1"}}
    (folder / "events.jsonl").write_bytes(lines(GOOD, bad, {**GOOD, "type": "other"}))
    assert failed(1, "publish", "--file", "events.jsonl").splitlines() == [
        "kmworker: line 2: malformed: data.volume_id: missing",
        "kmworker: line 3: unsupported-type: this version does not know the event's type",
        "kmworker: nothing was published",
        "hint: correct it, or publish it all with --no-check",
    ]
    assert broker.published == []


def test_the_check_needs_no_broker() -> None:
    err = failed(1, "publish", "volume-created", "--project", "p1")
    assert err.startswith("kmworker: the event: malformed: data.volume_id: missing\n")


MISSPELT = ("volume-created", "--project", "p1", "--set", "volume_id=v2",
            "--set", "sorce.kind=snapshot", "--set", "sorce.id=s1")  # fmt: skip


@pytest.mark.parametrize("command", ["publish", "explain"])
def test_a_misspelt_field_is_refused_in_the_workers_words(broker: Broker, command: str) -> None:
    expected = "kmworker: the event: malformed: data.sorce is unknown; did you mean source?\n"
    assert failed(1, command, *MISSPELT).startswith(expected)
    assert broker.published == []


def test_an_argument_that_is_not_utf_8_is_refused_in_words(broker: Broker) -> None:
    # As Python hands over the byte 0xFF.
    err = failed(1, "publish", "volume-created", "--project", "p1", "--set", "volume_id=v\udcff")
    assert "data.volume_id: has half a surrogate pair" in err
    assert broker.published == []


def test_without_the_check_even_nonsense_is_published(broker: Broker) -> None:
    result = run("publish", "--no-check", "--file", "-", stdin=b"{\n\xff\n")
    assert result.exit_code == 0
    assert [(it.routing_key, it.body) for it in broker.published] == [
        ("unknown", b"{"),
        ("unknown", b"\xff"),
    ]


def test_no_events_are_no_error(broker: Broker) -> None:
    assert said(run("publish", "--file", "-")) == (0, "", "kmworker: no events in -\n")
    assert not broker.batches


def test_events_that_find_no_queue_are_an_error_that_names_the_queue(broker: Broker) -> None:
    broker.is_routed = lambda message: message.properties["message_id"] != "e2"
    stdin = lines(GOOD, {**GOOD, "id": "e2"})
    code, out, err = said(run("publish", "--file", "-", stdin=stdin))
    assert (code, out) == (1, "e1\n")
    assert err.splitlines() == [
        "kmworker: 1 of 2 events found no queue to wait in",
        "hint: a worker declares kmworker.events.work: start one, then publish again",
    ]


def test_json_tells_which_event_found_no_queue(broker: Broker) -> None:
    broker.is_routed = lambda _message: False
    assert document("publish", *VOLUME, code=1)["routed"] is False


@pytest.mark.parametrize(
    ("failure", "code", "said_of_it"),
    [
        (BrokerUnavailable("it is gone"), 3, "kmworker: it is gone\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["a broker that goes away", "Ctrl-C"],
)
def test_who_is_stopped_half_way_has_published_what_was_printed(
    broker: Broker, failure: BaseException, code: int, said_of_it: str
) -> None:
    def fail(batches: int) -> None:
        if batches == 1:
            raise failure

    broker.before_batch = fail
    done = run("publish", "--file", "-", stdin=MANY)
    assert (done.exit_code, len(done.stdout.splitlines())) == (code, 500)
    told = f"kmworker: only 500 of 1,100 events confirmed\n{said_of_it}"
    assert done.stderr.partition("hint: ")[0] == told
    assert broker.is_closed
