"""Every command on a terminal, on a pipe and in trouble, held against its transcript."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kmworker.cli.app import KMWorker
from tests.integration.cli.stage import Stage
from tests.integration.cli.transcript import played, scenes_of
from tests.kit.servers import RabbitMQ, StoreServer

TRANSCRIPTS: Final = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
# Set by `make transcripts`.
IS_WRITING: Final = os.environ.get("KMWORKER_TEST_WRITE_TRANSCRIPTS") == "1"


@pytest.fixture(scope="module")
def stage(rabbitmq: RabbitMQ, redis_server: StoreServer) -> Iterator[Stage]:
    """Where transcripts are played."""
    made = Stage(rabbitmq, redis_server)
    yield made
    made.close()


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_commands_say_what_their_transcripts_show(path: Path, stage: Stage) -> None:
    recorded = path.read_text(encoding="utf-8")
    now = played(recorded, stage)
    if IS_WRITING:
        path.write_text(now, encoding="utf-8")
    assert now == recorded, "if this is meant, run make transcripts and look at what it changed"


@pytest.mark.parametrize("name", KMWorker.purposes)
def test_every_command_has_a_transcript_on_a_terminal_and_on_a_pipe(name: str) -> None:
    (path,) = [path for path in TRANSCRIPTS if path.stem == name]
    scenes = scenes_of(path.read_text(encoding="utf-8"))
    assert {"on a terminal", "on a pipe"} <= {word for scene in scenes for word in scene.wanted}
