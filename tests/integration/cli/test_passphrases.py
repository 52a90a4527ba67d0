"""A passphrase that is typed: no screen shows it, and what was mistyped is noticed."""

import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Final

from tests.integration.cli.terminal import Terminal
from tests.kit.outside.worker import PROJECT_ROOT, program
from tests.kit.polling import until

WORDS: Final = "five words that dice have thrown"
QUESTION: Final = re.compile(r"passphrase: |confirmation: ")
ROOT: Final = ("--root", "root-key.json")


def on_a_terminal(folder: Path, *words: str) -> Terminal:
    kept = {name: it for name, it in os.environ.items() if not name.startswith("KMWORKER_")}
    return Terminal([*program(), *words], {**kept, "PYTHONPATH": str(PROJECT_ROOT)}, folder)


def answered(terminal: Terminal, *typed: str) -> tuple[int, str]:
    """Type a line for each question; return how the program ends, and what was seen."""
    for number, text in enumerate(typed, 1):
        until(partial(_asks, terminal, number), "it asks")
        terminal.type(f"{text}\n")
    return terminal.ended(), terminal.seen()


def _asks(terminal: Terminal, number: int) -> bool:
    return len(QUESTION.findall(terminal.seen())) >= number and terminal.hides()


def test_a_root_key_is_put_under_what_is_typed_twice_and_signs_with_it(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path, "trust", "init", *ROOT, "--passphrase") as terminal:
        code, seen = answered(terminal, WORDS, "another", WORDS, WORDS)
    assert code == 0, seen
    assert "the root key's passphrase: " in seen
    assert "do not match" in seen
    assert WORDS not in seen
    public = json.loads((tmp_path / "root-key.json").read_text())["public"]
    assert public in seen
    with on_a_terminal(tmp_path, "trust", "key") as terminal:
        assert terminal.ended() == 0
        printed = terminal.seen()
    (tmp_path / "listed.json").write_text(printed[printed.index("{") :])
    installation = "3b8f0a52-9f5d-4f0e-8f5c-6b1e8f3f7a10"
    sign = ("trust", "sign", "listed.json", *ROOT, "--installation", installation)
    with on_a_terminal(tmp_path, *sign) as terminal:
        code, seen = answered(terminal, WORDS)
    assert code == 0, seen
    assert json.loads(seen[seen.index("{") :])["root"] == public
    with on_a_terminal(tmp_path, *sign) as terminal:
        code, seen = answered(terminal, "five words of somebody else")
    assert code == 2
    assert "the passphrase is another one" in seen
