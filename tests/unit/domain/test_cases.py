"""What becomes of events that people have published, by the shipped policy."""

import json

import pytest

from kmworker.domain.event import Event, Happening, Unreadable
from kmworker.domain.explain import Explanation, explain_events
from kmworker.wire.events.reading import parse
from tests.kit.builders import SHIPPED
from tests.kit.cases import CASES, FOLDER, Assigned, Case, Refused, Waits, lines_of


def read(body: bytes) -> Happening | Unreadable:
    return parse(body, "application/cloudevents+json", json.loads(body)["type"])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_line_comes_to_what_it_should(case: Case) -> None:
    bodies = lines_of(case)
    assert len(bodies) == len(case.outcomes)
    events = [event for body in bodies if isinstance(event := read(body), Event)]
    # A partition is told before its first replica, and no event is its own.
    told = explain_events(events, {}, SHIPPED)
    explained = (it for it in told if not it.item.startswith("partition:"))
    for body, outcome in zip(bodies, case.outcomes, strict=True):
        event = read(body)
        if isinstance(event, Unreadable):
            assert isinstance(outcome, Refused), event
            assert event.reason == outcome.reason
            assert outcome.is_told(event.detail), event.detail
        else:
            assert_explained(next(explained), outcome)


def assert_explained(explanation: Explanation, outcome: Assigned | Refused | Waits) -> None:
    if isinstance(outcome, Waits):
        assert explanation.decision == "wait"
    elif isinstance(outcome, Refused):
        assert explanation.decision == outcome.reason
        assert outcome.is_told(explanation.why), explanation.why
    else:
        assert explanation.decision == outcome.disposition
        assert explanation.data_action == outcome.data_action
        assert outcome.why in explanation.why


def test_every_file_is_played() -> None:
    named = {name for case in CASES.values() for name in case.files}
    assert named == {path.stem for path in FOLDER.glob("*.jsonl")}
