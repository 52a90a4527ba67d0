"""``kmworker watch``, with a subscription that says what the test wants."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from kmworker.errors import BrokerUnavailable
from tests.kit.cli.stand import Subscription, failed, interrupt, run, said

DOCUMENT: dict[str, Any] = {
    "specversion": "1.0",
    "time": "2026-11-23T16:00:00.000Z",
    "data": {
        "item": {"kind": "volume", "id": "v1"},
        "project_id": "p1",
        "key_id": "k1",
        "disposition": "create",
        "rule": "blank-volumes-get-a-key",
    },
}
LINE = "2026-11-23T16:00:00.000Z  p1  volume:v1  create  k1  blank-volumes-get-a-key\n"
LISTENING = "kmworker: listening to kmworker.assignments and kmworker.keys\n"
BODY = json.dumps(DOCUMENT).encode()

Hear = Callable[..., Subscription]


@pytest.fixture
def hear(monkeypatch: pytest.MonkeyPatch) -> Hear:
    """Prepare what will be heard, and what happens then."""

    def prepare(*bodies: bytes, then: Callable[[], None] = interrupt) -> Subscription:
        subscription = Subscription(list(bodies), then)

        def open_it(_settings: Any, bindings: dict[str, list[str]]) -> Subscription:
            subscription.bindings = bindings
            return subscription

        monkeypatch.setattr("kmworker.cli.watch.open_subscriber", open_it)
        return subscription

    return prepare


def test_an_assignment_is_a_line_and_ctrl_c_the_normal_end(hear: Hear) -> None:
    subscription = hear(BODY, BODY)
    assert said(run("watch")) == (0, LINE + LINE, LISTENING)
    assert subscription.bindings == {
        "kmworker.assignments": ["key-assigned.#", "key-released.#"],
        "kmworker.keys": ["*.#"],
    }
    assert subscription.is_closed


def test_an_item_without_a_key_has_a_dash_in_its_place(hear: Hear) -> None:
    hear(json.dumps(DOCUMENT | {"data": DOCUMENT["data"] | {"key_id": None}}).encode())
    assert run("watch").stdout == LINE.replace("k1", "-")


def test_json_is_the_announcement_on_one_line(hear: Hear) -> None:
    hear(json.dumps(DOCUMENT, indent=4).encode())
    out = run("watch", "--json").stdout
    assert out.count("\n") == 1
    assert json.loads(out) == DOCUMENT


@pytest.mark.parametrize("project", ["#", "*", "a.#", "", "a b"])
def test_a_pattern_is_no_project(hear: Hear, project: str) -> None:
    hear(then=pytest.fail)
    assert "not a project's name" in failed(2, "watch", "--project", project)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"{}", b'{"data": 1}', b"[" * 100_000], ids=range(6)
)
def test_what_is_no_announcement_is_skipped(hear: Hear, body: bytes) -> None:
    hear(body, BODY)
    note = "kmworker: skipped a message that is no announcement\n"
    assert said(run("watch")) == (0, LINE, LISTENING + note)


def test_an_announcement_of_odd_parts_is_one_line_all_the_same(hear: Hear) -> None:
    hear(b'{"data": {"item": 1, "rule": "a\\nb\\u001b[2J"}}')
    out = run("watch").stdout
    assert out == "-  -  ?  -  -  a\\u000ab\\u001b[2J\n"


def test_a_lost_connection_is_an_unreachable_broker(hear: Hear) -> None:
    def lose() -> None:
        raise BrokerUnavailable("it is gone")

    subscription = hear(BODY, then=lose)
    code, out, err = said(run("watch"))
    assert (code, out) == (3, LINE)
    assert err.startswith(LISTENING + "kmworker: it is gone\n")
    assert subscription.is_closed
