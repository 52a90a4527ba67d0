"""Commands that look at a store leave it as it was."""

import pytest

from tests.kit.builders import event_of, snapshot, volume
from tests.kit.cli.stand import Broker, FilledStore, run

LOOKING = (
    "announce --project p1", "health", "list items", "list keys", "list projects",
    "show volume:v1", "status", "waiting list",
    "explain volume-created --project p1 --set volume_id=v9",
)  # fmt: skip


@pytest.mark.parametrize("command", LOOKING)
def test_nothing_is_written_to_the_store(filled: FilledStore, broker: Broker, command: str) -> None:
    filled.assign(event_of(snapshot("s9"), volume("v9")))
    filled.client.hset("km:totals", "items", 4)
    before = filled.dump()
    assert run(*command.split()).exit_code == (command == "health")
    assert filled.dump() == before
