"""The shipped Grafana dashboard asks nothing that its user may not ask."""

import json
import shlex
import time
from typing import Any

import pytest

from tests.integration.privilege.accounts import CONFIG, Store

DASHBOARD = json.loads((CONFIG / "grafana" / "kmworker.json").read_text())


def _command(target: dict[str, Any]) -> list[str]:
    """Return the Redis command that Grafana's data source makes of a panel's target."""
    if target["type"] == "cli":
        return shlex.split(_filled(target["query"]))
    words = [target["command"], _filled(target["keyName"])]
    if target["command"] == "xrevrange":
        words += [target["end"], target["start"], "COUNT", str(target["count"])]
    return words


def _filled(text: str) -> str:
    """Put in what the dashboard's variables stand for."""
    values = {"prefix": "km", "project": "acme", "__from:date:seconds": str(int(time.time()))}
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    assert "$" not in text
    return text


TARGETS = [
    pytest.param(target, id=panel["title"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_gets_its_answer(store: Store, target: dict[str, Any]) -> None:
    words = _command(target)
    assert any(word.startswith("km:") for word in words)
    with store.client("dashboard") as client:
        client.execute_command(*words)
