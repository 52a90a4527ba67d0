"""``kmworker dead``, over a queue in memory: what is shown, settled, asked and ended with."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any

import pytest

from kmworker.bus.dead_queue import Browsed
from kmworker.clock import rfc3339
from kmworker.domain.audit import AuditRecord
from kmworker.domain.decision import Refuse
from kmworker.domain.message import Original, Outgoing
from kmworker.errors import BrokerUnavailable, NotRecorded, Reason
from kmworker.wire.dead_letters.reading import read_dead_letter
from kmworker.wire.dead_letters.writing import dead_letter
from tests.kit.cli.stand import Trail, document, failed, run, said

HOUR_S = 3600.0


def dead(
    name: str,
    reason: Reason = Reason.CONFLICT,
    age_s: float = HOUR_S,
    event_type: str = "volume-created",
) -> Original:
    """A worker's dead letter of an event of this id."""
    body = json.dumps({"id": name, "type": event_type}).encode()
    message = dead_letter(
        Original(body, event_type, {"app_id": "cinder"}),
        Refuse(reason, f"{name} is refused"),
        exchange="kmworker.dead",
        event_id=name,
        event_type=event_type,
        dead_at=rfc3339(time() - age_s),
        attempts=1,
    )
    return Original(message.body, message.routing_key, message.properties)


STRANGERS = Original(b"\xff\x1b[31m", "any", {"type": "x", "application_headers": {"a": b"\xff"}})


@dataclass
class Queue:
    """Dead letters in memory."""

    dead_letters: list[Original]
    replayed: list[Outgoing] = field(default_factory=list)
    discarded: list[Original] = field(default_factory=list)
    others: int = 0
    may_drop: bool = False
    returned: int = 0
    page: int = 2
    is_routed: Callable[[Outgoing], bool] = lambda _message: True
    before: Callable[[int], None] = lambda _settled: None
    """Called before each settling with the number settled; may raise."""
    opened: int = 0
    ends: list[str] = field(default_factory=list)

    def open(self) -> int:
        self.opened += 1
        return len(self.dead_letters)

    def browse(self) -> Iterator[list[Browsed]]:
        there = list(self.dead_letters)
        for at in range(0, len(there), self.page):
            yield [Browsed(it, it, self.returned) for it in there[at : at + self.page]]

    def replay(self, dead_letters: Sequence[tuple[Browsed, Outgoing]]) -> list[bool]:
        self.before(len(self.replayed))
        routed = [self.is_routed(message) for _, message in dead_letters]
        for (browsed, message), taken in zip(dead_letters, routed, strict=True):
            if taken:
                self.replayed.append(message)
                self.dead_letters.remove(browsed.handle)
        return routed

    def discard(self, dead_letters: Sequence[Browsed]) -> None:
        self.before(len(self.discarded))
        for browsed in dead_letters:
            self.discarded.append(browsed.original)
            self.dead_letters.remove(browsed.handle)

    def close(self) -> None:
        self.ends.append("closed")

    def abandon(self) -> None:
        self.ends.append("abandoned")


STRANGERS_ID = read_dead_letter(STRANGERS).message_id


def names(originals: Sequence[Original]) -> list[str]:
    return [read_dead_letter(it).event_id for it in originals]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Five dead letters of workers and a stranger's."""
    there = Queue(
        [
            dead("e1"),
            dead("e2", Reason.MALFORMED, 2 * HOUR_S, "unknown"),
            dead("e3", Reason.INTERNAL, 48 * HOUR_S, "snapshot-taken"),
            STRANGERS,
            dead("e5", Reason.INTERNAL, 10.0),
            dead("e6", Reason.MALFORMED, 3 * HOUR_S),
        ]
    )
    monkeypatch.setattr("kmworker.cli.frame.broker.open_dead_queue", lambda *_: there)
    return there


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who can be asked."""
    monkeypatch.setattr("kmworker.cli.terminal.output.is_anyone_there", lambda: True)


def listed(*options: str) -> list[str]:
    return [it["event_id"] for it in document("dead", "list", *options)]


# --- list ----------------------------------------------------------------------------


def test_the_oldest_come_first_and_those_without_a_time_last(queue: Queue) -> None:
    assert listed() == ["e3", "e6", "e2", "e1", "e5", ""]
    assert len(queue.dead_letters) == 6
    assert queue.ends == ["closed"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--reason", "malformed"], ["e6", "e2"]),
        (["--type", "snapshot-taken"], ["e3"]),
        (["--since", "90min"], ["e1", "e5"]),
        (["--before", "1d"], ["e3"]),
        (["--since", "1d", "--before", "150min"], ["e6"]),
        (["--since", "2020-01-01"], ["e3", "e6", "e2", "e1", "e5"]),
        (["--before", "2020-01-01T00:00:00Z"], []),
        (["--reason", "malformed", "--limit", "1"], ["e6"]),
        (["e1", "e5"], ["e1", "e5"]),
        (["e1", "e2", "--reason", "conflict"], ["e1"]),
    ],
)
def test_what_is_meant_is_listed(queue: Queue, options: list[str], found: list[str]) -> None:
    assert listed(*options) == found


def test_a_table_has_a_line_for_each(queue: Queue) -> None:
    code, out, err = said(run("dead", "list", "e2"))
    head, row = out.splitlines()
    assert head.split()[:4] == ["message", "id", "dead", "at"]
    assert row.split()[0] == read_dead_letter(queue.dead_letters[1]).message_id[:12]
    assert row.split()[2:] == ["malformed", "unknown", "e2", "1", "e2", "is", "refused"]
    assert (code, err) == (0, "")


def test_a_list_that_is_cut_says_so(queue: Queue) -> None:
    done = run("dead", "list", "--limit", "2")
    assert done.stderr == "kmworker: the oldest 2 of 6 dead letters: --limit shows more\n"


def test_nothing_to_list_is_no_error(queue: Queue) -> None:
    assert said(run("dead", "list", "--type", "x")) == (0, "", "kmworker: no dead letter matches\n")
    queue.dead_letters.clear()
    assert said(run("dead", "list")) == (0, "", "kmworker: no dead letters\n")
    assert said(run("dead", "list", "--json")) == (0, "[]\n", "kmworker: no dead letters\n")


def test_an_id_that_is_not_there_is_named(queue: Queue) -> None:
    code, out, err = said(run("dead", "list", "e1", "nobody"))
    assert (code, len(out.splitlines())) == (1, 2)
    assert err.startswith("kmworker: no dead letter: nobody\n")


def test_a_dead_letter_that_somebody_else_holds_may_be_one(queue: Queue) -> None:
    queue.others = 1
    assert "1 other client of the broker looks at" in run("dead", "list").stderr


@pytest.mark.parametrize(
    ("may_drop", "returned", "warns"),
    [(True, 10, True), (True, 14, True), (True, 9, False), (True, 21, False), (False, 15, False)],
)
def test_a_limit_of_deliveries_is_warned_of_before_it_strikes(
    queue: Queue, may_drop: bool, returned: int, warns: bool
) -> None:
    queue.may_drop, queue.returned = may_drop, returned
    assert ("which lift that limit" in run("dead", "list").stderr) is warns


@pytest.mark.parametrize("returned", [15, 20])
@pytest.mark.parametrize(
    "command", [("list",), ("show", "e1"), ("replay", "--all"), ("discard", "--all", "--yes")]
)
def test_looking_stops_before_the_broker_throws_dead_letters_away(
    queue: Queue, returned: int, command: tuple[str, ...]
) -> None:
    queue.may_drop, queue.returned = True, returned
    result = run("dead", *command)
    assert result.exit_code == 2
    assert f"looked at {returned} times" in result.stderr
    assert "so looking ends here" in result.stderr
    assert run("dead", *command, "--anyway").exit_code != 2


# --- show ----------------------------------------------------------------------------


def test_all_of_a_dead_letter_is_shown_and_nothing_steers_the_terminal(queue: Queue) -> None:
    out = run("dead", "show", "e1").stdout
    assert '{"id": "e1", "type": "volume-created"}' in out
    assert "e1 is refused" in out
    assert "app_id" in out
    out = run("dead", "show", STRANGERS_ID).stdout
    assert "no worker wrote this dead letter" in out
    assert "6 bytes that are no text" in out
    assert "\x1b" not in out


def test_a_dead_letter_as_json_has_every_byte(queue: Queue) -> None:
    queue.dead_letters.append(queue.dead_letters[0])
    first, second = document("dead", "show", "e1")
    assert first == second
    assert json.loads(first["body"]) == {"id": "e1", "type": "volume-created"}
    assert first["properties"]["app_id"] == "cinder"
    (foreign,) = document("dead", "show", STRANGERS_ID)
    assert (foreign["body"], foreign["body_base64"]) == (None, "/xtbMzFt")
    assert foreign["properties"]["application_headers"] == {"a": "�"}


def test_not_more_than_a_hundred_are_shown(queue: Queue) -> None:
    queue.dead_letters = [queue.dead_letters[0]] * 101
    done = run("dead", "show", "e1", "--json")
    assert len(json.loads(done.stdout)) == 100
    assert (done.exit_code, done.stderr) == (0, "kmworker: only 100 are shown\n")


# --- replay --------------------------------------------------------------------------


def test_chosen_dead_letters_become_events_again(queue: Queue) -> None:
    done = said(run("dead", "replay", "--reason", "internal"))
    assert done == (0, "replayed 2 dead letters: internal 2\n", "")
    assert [(it.exchange, it.routing_key) for it in queue.replayed] == [
        ("kmworker.events", "snapshot-taken"),
        ("kmworker.events", "volume-created"),
    ]
    assert names(queue.dead_letters) == ["e1", "e2", "", "e6"]


def test_what_no_worker_wrote_stays_and_says_why(queue: Queue) -> None:
    code, out, err = said(run("dead", "replay", "--all"))
    told = "replayed 5 dead letters: conflict 1, internal 2, malformed 2\n"
    assert (code, out) == (1, told)
    why = "no worker wrote this dead letter: it has no x-kmworker-reason"
    assert f"kmworker: not replayed: {STRANGERS_ID}: {why}\n" in err
    assert "1 dead letter cannot be replayed" in err
    assert queue.dead_letters == [STRANGERS]


def test_of_many_obstacles_the_first_are_told(queue: Queue) -> None:
    queue.dead_letters = [STRANGERS] * 12
    err = run("dead", "replay", "--all").stderr
    assert err.count("not replayed: ") == 10
    assert "12 dead letters cannot be replayed" in err


def test_no_more_are_replayed_than_asked_for(queue: Queue) -> None:
    assert run("dead", "replay", "--all", "--limit", "3").exit_code == 0
    assert names(queue.dead_letters) == ["", "e5", "e6"]


def test_the_numbers_as_json(queue: Queue) -> None:
    assert document("dead", "replay", "e1", "nobody", code=1) == {
        "dry_run": False,
        "replayed": 1,
        "by_reason": {"conflict": 1},
        "passed_over": 0,
        "missing": ["nobody"],
    }


def test_events_that_no_queue_takes_stay_dead(queue: Queue) -> None:
    queue.is_routed = lambda message: message.routing_key != "unknown"
    err = failed(1, "dead", "replay", "--all")
    assert "kmworker: replayed 1 dead letter: conflict 1; all others are still there\n" in err
    assert "no queue is bound to kmworker.events" in err
    assert names(queue.dead_letters) == ["e2", "e3", "", "e5", "e6"]


@pytest.mark.parametrize(
    ("error", "code", "end"),
    [(BrokerUnavailable("gone"), 3, "closed"), (KeyboardInterrupt(), 130, "abandoned")],
)
def test_who_stops_it_hears_how_far_it_came(
    queue: Queue, error: BaseException, code: int, end: str
) -> None:
    def stop(settled: int) -> None:
        if settled >= 2:
            raise error

    queue.before = stop
    done = run("dead", "replay", "--all")
    assert done.exit_code == code
    assert "replayed 2 dead letters: conflict 1, malformed 1; all others" in done.stderr
    assert len(queue.dead_letters) == 4
    assert queue.ends == [end]


@pytest.mark.parametrize("command", ["replay", "discard"])
@pytest.mark.parametrize(
    "options",
    [[], ["--all", "e1"], ["--all", "--reason", "internal"], ["--reason", "odd"],
     ["--since", "soon"], ["--limit", "0", "--all"]],
)  # fmt: skip
def test_what_is_not_clearly_meant_is_wrong_usage(
    queue: Queue, command: str, options: list[str]
) -> None:
    assert run("dead", command, *options).exit_code == 2
    assert queue.opened == 0


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_a_dry_run_leaves_everything_as_it_is(queue: Queue, command: str) -> None:
    done = run("dead", command, "--reason", "internal", "--dry-run")
    assert said(done) == (0, f"would {command} 2 dead letters: internal 2\n", "")
    assert len(queue.dead_letters) == 6


# --- discard -------------------------------------------------------------------------


def test_one_dead_letter_is_discarded_without_a_question(queue: Queue) -> None:
    done = said(run("dead", "discard", "e1"))
    assert done == (0, "discarded 1 dead letter: conflict 1\n", "")
    assert names(queue.discarded) == ["e1"]


def test_many_are_not_discarded_where_nobody_can_be_asked(queue: Queue) -> None:
    err = failed(2, "dead", "discard", "--all")
    assert queue.discarded == []
    assert "discard 6 dead letters: no reason 1, conflict 1, internal 2, malformed 2?" in err
    assert "hint: nobody is there to ask: say yes with --yes\n" in err


@pytest.mark.usefixtures("person")
def test_who_says_no_keeps_them(queue: Queue) -> None:
    done = run("dead", "discard", "--all", stdin="n\n")
    assert (done.exit_code, queue.discarded) == (1, [])
    assert "nothing was discarded" in done.stderr


@pytest.mark.usefixtures("person")
def test_who_says_yes_discards_what_was_counted_and_no_more(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: Any, **__: Any) -> bool:
        queue.dead_letters += [dead("late"), queue.dead_letters[0]]
        return True

    monkeypatch.setattr("kmworker.cli.terminal.output.typer.confirm", answer)
    done = run("dead", "discard", "--all")
    assert (done.exit_code, len(queue.discarded)) == (0, 6)
    # A repeat of what was counted is one too many, too.
    assert sorted(names(queue.dead_letters)) == ["e1", "late"]


def test_without_a_question_all_go_at_once_strangers_included(queue: Queue) -> None:
    assert document("dead", "discard", "--all", "--yes")["discarded"] == 6
    assert (queue.dead_letters, queue.opened) == ([], 1)


def test_an_id_that_is_not_there_is_named_after_the_others_are_discarded(queue: Queue) -> None:
    code, out, err = said(run("dead", "discard", "nobody", "e1"))
    assert (code, out) == (1, "discarded 1 dead letter: conflict 1\n")
    assert "no dead letter: nobody" in err
    assert names(queue.discarded) == ["e1"]


# --- the audit trail -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "what", "count"),
    [
        (("replay", "--reason", "internal"), "dead-letters-replayed", 2),
        (("discard", "--all", "--yes"), "dead-letters-discarded", 6),
    ],
    ids=["replay", "discard"],
)
def test_it_is_recorded_that_it_begins_and_how_many_were_settled(
    queue: Queue, trail: Trail, words: tuple[str, ...], what: str, count: int
) -> None:
    opened: list[int] = []
    trail.before = lambda _record: opened.append(queue.opened)
    assert run("dead", *words).exit_code == 0
    assert trail.told == [(what, "begun", None), (what, "done", count)]
    assert opened[0] == 0, "it was recorded before anything was looked at"


def test_how_far_it_came_is_recorded_of_what_was_stopped(queue: Queue, trail: Trail) -> None:
    def stop(settled: int) -> None:
        if settled:
            raise KeyboardInterrupt

    queue.before = stop
    assert run("dead", "discard", "--all", "--yes").exit_code == 130
    assert trail.told[-1] == ("dead-letters-discarded", "failed", 2)


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_what_cannot_be_recorded_settles_nothing(queue: Queue, trail: Trail, command: str) -> None:
    def refuse(_record: AuditRecord) -> None:
        raise NotRecorded("its queue is full")

    trail.before = refuse
    failed(3, "dead", command, "--all", *(["--yes"] * (command == "discard")))
    assert (queue.replayed, queue.discarded) == ([], [])


@pytest.mark.parametrize("words", [("list",), ("replay", "--all", "--dry-run")], ids=" ".join)
def test_who_only_looks_is_not_recorded(queue: Queue, trail: Trail, words: tuple[str, ...]) -> None:
    assert run("dead", *words).exit_code in {0, 1}
    assert trail.records == []
