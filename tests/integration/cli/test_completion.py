"""Completion in bash, by the script that the program prints."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from kmworker.cli.app import KMWorker
from kmworker.wire.events.definition import EVENT_TYPES
from tests.integration.cli.terminal import Terminal
from tests.kit.polling import until

# What bash does when Tab is pressed after these words.
ASK: Final = """
source <(kmworker --show-completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_kmworker_completion kmworker
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine with this program and nothing configured."""
    program = tmp_path / "bin" / "kmworker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m kmworker "$@"\n')
    program.chmod(0o755)
    root = str(Path(__file__).parents[3])
    path = f"{program.parent}:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": root}


COMPLETED: Final = {
    "a command": ("pub", ["publish"]),
    "any command": ("", list(KMWorker.purposes)),
    "a part of a command": ("audit ", ["tail", "export", "verify"]),
    "a part of list": ("list ", ["projects", "items", "keys"]),
    "a kind of item": ("list items --kind s", ["snapshot"]),
    "a key's state": ("list keys --state s", ["suspended"]),
    "an event's type": ("publish ", list(EVENT_TYPES)),
    "a type that has begun": ("explain sn", ["snapshot-taken", "snapshot-deleted"]),
    "an option": ("watch --co", ["--count"]),
    "one of few values": ("explain --source-state s", ["suspended"]),
    "a file, by bash itself": ("publish --file ", []),
}


@pytest.mark.parametrize(("typed", "offered"), COMPLETED.values(), ids=COMPLETED)
def test_bash_completes(typed: str, offered: list[str], environ: dict[str, str]) -> None:
    command = ["bash", "--norc", "-c", ASK, "bash", "kmworker", *typed.split(" ")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (offered, "")


def test_tab_completes_on_a_terminal(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "rc").write_text("source <(kmworker --show-completion bash)\nPS1='ready> '\n")
    (tmp_path / "lines.jsonl").touch()
    with Terminal(["bash", "--rcfile", "rc", "-i"], environ, tmp_path) as shell:
        until(lambda: "ready> " in shell.seen(), "the prompt")
        shell.type("kmworker publ\t")
        until(lambda: "kmworker publish " in shell.seen(), "the command")
        shell.type("--file li\t")
        until(lambda: "--file lines.jsonl " in shell.seen(), "the file")
        shell.type("\x15exit\n")
        assert shell.ended() == 0
