"""Whatever somebody has written into the store is shown, found or refused: no command falls over.

Each key that commands read gets each forged value, by itself. What must not happen is an exit
code of 70, which means internal error, or text that steers or breaks a terminal.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from typer.testing import Result

from kmworker.ports import QueueCounts, Report
from kmworker.store.reports import RedisReports
from tests.kit.builders import event_of, snapshot, volume
from tests.kit.cli.stand import NOW_S, FilledStore, run

FORGED = {
    "digits": b"9" * 5_000,
    "negative": b"-" + b"9" * 400,
    "not UTF-8": b"\xff\xfe\x80",
    "a surrogate": b'{"item":"volume:\\ud800","source":"volume:\\udfff","data":{"x":"\\ud83d"}}',
    "a raw surrogate": b"\xed\xa0\x80",
    "NaN": b"NaN",
    "infinity": b"inf",
    "nothing": b"",
    "a NUL": b"\x00",
    "bidirectional": "\u202e\u2066volume:v1".encode(),
    "deep": b"[" * 100_000,
    "deep objects": b'{"data":' * 20_000,
    "a list": b"[1, 2]",
    "null": b"null",
    "a number of digits": b'{"data":' + b"9" * 5_000 + b',"source":' + b"9" * 5_000 + b"}",
    "wrong types": b'{"data":{"source":[],"key_id":{},"scope_id":[]},"item":1,"since":[]}',
    "NaN inside": b'{"since":NaN,"deadline":Infinity,"attempts":NaN,"data":{"key_id":NaN}}',
}
EVERYTHING = "KMWORKER_TEST_FORGED" in os.environ
COMMANDS = [
    ("status",), ("status", "--json"),
    ("show", "volume:v2"), ("show", "volume:v2", "--project", "p1", "--json"),
    ("waiting", "list"), ("waiting", "list", "--json"),
    ("waiting", "expire", "--project", "p2", "--source", "volume:v9"),
    ("verify",), ("verify", "--json"),
    ("doctor",), ("doctor", "--json"),
    ("health",), ("health", "--json"),
    ("announce", "--project", "p1"),
    ("list", "projects"), ("list", "items", "--project", "p1"), ("list", "keys", "--project", "p1"),
    ("key", "list", "--project", "p1"), ("key", "list", "--due"),
    ("key", "show", "volume:v2", "--project", "p1"),
]  # fmt: skip


Put = Callable[[Any, bytes], object]


@pytest.fixture
def filled(filled: FilledStore) -> FilledStore:
    """All that commands read: records, waiting events, workers and what they report."""
    filled.client.config_get = lambda *_names: {}
    filled.client.info = lambda _section: {"redis_version": "7.0.15"}
    filled.client.time = lambda: (int(NOW_S), 500_000)
    filled.assign(event_of(snapshot("s9", "p2"), volume("v9", "p2")))
    filled.client.zadd("km:{p1}:keys:due", {filled.key_id(volume("v2")): NOW_S})
    filled.client.hset("km:janitor", mapping={"id": "j1", "seen_at": NOW_S, "destroyed": 1})
    reports = RedisReports(filled.client, filled.names, "w1", lambda: 0.0)
    reports.write(
        Report(
            worker_id="w1",
            seen_at=NOW_S,
            fields={"host": "blk01", "pid": 7, "state": "running", "started": NOW_S},
            feed=[],
            minute={"worker": "w1", "create": 1, "latency_p50_ms": 3.2, "latency_p99_ms": 9.9},
            queues=QueueCounts(1, 2, 3),
        )
    ).result()
    for _ in range(9):
        reports.count_if_due(NOW_S)
    filled.client.hset("km:dead", mapping={"malformed": 2})
    filled.client.hset("km:crowded", "p2", "1")
    return filled


def places(client: Any) -> list[tuple[bytes, str, Put]]:
    """Return each place in the store, and what puts a value there."""
    found: list[tuple[bytes, str, Put]] = []
    for key in sorted(client.scan_iter()):
        name, kind = key.decode(), client.type(key)
        # A lease must not run out in between.
        client.persist(key)
        found.append((key, f"{name} as text", _as_text(key)))
        if kind == b"hash":
            fields = sorted(client.hkeys(key))
            found += [(key, f"{name} {field.decode()}", _field(key, field)) for field in fields]
            found.append((key, f"{name}: a field", _field(key, None)))
        elif kind == b"set":
            found.append((key, f"{name}: a member", _set_member(key)))
        elif kind == b"zset":
            scores = (0.0, float("inf"), float("-inf"))
            found += [(key, f"{name} at {score}", _member(key, score)) for score in scores]
        elif kind == b"stream":
            found.append((key, name, _entry(key)))
    return found


def _as_text(key: bytes) -> Put:
    return lambda client, forged: (client.delete(key), client.set(key, forged))


def _field(key: bytes, field: bytes | None) -> Put:
    return lambda client, forged: client.hset(key, forged if field is None else field, forged)


def _set_member(key: bytes) -> Put:
    return lambda client, forged: client.sadd(key, forged)


def _member(key: bytes, score: float) -> Put:
    return lambda client, forged: client.zadd(key, {forged: score})


def _entry(key: bytes) -> Put:
    return lambda client, forged: client.xadd(key, {forged: forged, "create": forged})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_forged_value_is_a_fault_of_the_program(
    filled: FilledStore, command: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: list[str] = []
    with monkeypatch.context() as patch:
        read = _reads(filled, patch)
        run(*command)
    for number, (key, where, put) in enumerate(places(filled.client)):
        # What is in a key that a command does not read makes no difference to it.
        if key not in read:
            continue
        # Each place gets each kind in some command, each command each kind in some place.
        first = number + [*COMMANDS].index(tuple(command))
        chosen = list(FORGED) if EVERYTHING else [list(FORGED)[first % len(FORGED)]]
        before = filled.client.dump(key)
        for kind in chosen:
            put(filled.client, FORGED[kind])
            result = run(*command)
            wrong += [
                f"{kind} at {where}: {it}" for it in objections(result, as_json="--json" in command)
            ]
            filled.client.restore(key, 0, before, replace=True)
    assert wrong == []


def _reads(store: FilledStore, monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Return the keys that are read from now on, by scripts, too."""
    database, read = type(store.server.dbs[0]), set[bytes]()
    get = database.__getitem__

    def reading(these: Any, key: bytes) -> Any:
        read.add(key)
        return get(these, key)

    monkeypatch.setattr(database, "__getitem__", reading)
    return read


def _refuse(name: str) -> None:
    raise ValueError(name)


def objections(result: Result, *, as_json: bool) -> Iterator[str]:
    """Give what a command must not do, whatever it met."""
    if result.exit_code not in {0, 1, 2, 3}:
        yield f"exit code {result.exit_code}: {result.exception!r} {result.stderr}"
    if as_json:
        try:
            decoder = json.JSONDecoder(parse_constant=_refuse)
            text = result.stdout.strip()
            while text:
                _document, end = decoder.raw_decode(text)
                text = text[end:].strip()
        except ValueError as wrong:
            yield f"no JSON: {wrong}"
    for text in (result.stdout, result.stderr):
        if not text.replace("\n", "").isprintable():
            yield f"not printable: {text[:200]!r}"
