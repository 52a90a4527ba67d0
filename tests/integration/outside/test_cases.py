"""Events that people have published, by a real worker: each line gets its answer."""

import json
from typing import Any

import pytest

from tests.integration.outside.conftest import Running
from tests.kit.cases import CASES, Assigned, Case, Outcome, Refused, lines_of
from tests.kit.outside.heard import Outside
from tests.kit.outside.words import Message
from tests.kit.polling import until


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_line_is_answered_as_it_should(patient: Running, case: Case) -> None:
    with patient.site.client() as client:
        for body, outcome in zip(lines_of(case), case.outcomes, strict=True):
            client.publish(Message(body, json.loads(body)["type"]))
            answer(client, body, outcome)


def answer(client: Outside, body: bytes, outcome: Outcome) -> None:
    """Wait for the answer to one event, if one is to come, and compare it."""
    document = json.loads(body)
    if isinstance(outcome, Refused):
        until(lambda: body in client.refused(), f"{body!r} is refused", between=client.pump)
        headers = client.refused()[body][0].headers
        assert headers["x-kmworker-reason"] == outcome.reason
        assert outcome.is_told(headers["x-kmworker-detail"]), headers["x-kmworker-detail"]
    elif isinstance(outcome, Assigned):
        subject = f"{document['data']['project_id']}/{ref_of(document)}"
        until(lambda: subject in client.announced(), f"{subject} has a key", between=client.pump)
        data = data_of(client, subject)
        assert (data["disposition"], data["data_action"]) == (
            outcome.disposition,
            outcome.data_action,
        )
        if outcome.shares_key_of is not None:
            owner = f"{document['data']['project_id']}/{outcome.shares_key_of}"
            assert data["key_id"] == data_of(client, owner)["key_id"]


def data_of(client: Outside, subject: str) -> dict[str, Any]:
    data = client.announced()[subject][0].parsed()["data"]
    assert isinstance(data, dict)
    return data


def ref_of(document: dict[str, Any]) -> str:
    kind = document["type"].partition("-")[0]
    return f"{kind}:{document['data'][f'{kind}_id']}"
