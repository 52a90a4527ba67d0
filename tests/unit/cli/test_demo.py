"""What `kmworker demo` says to type next."""

import sys
from pathlib import Path

import pytest

from kmworker.cli.demo.collection import _called


@pytest.fixture
def program(folder: Path) -> Path:
    path = folder / ".venv" / "bin" / "kmworker"
    path.parent.mkdir(parents=True)
    path.touch(0o755)
    return path


@pytest.mark.parametrize(
    ("argv", "is_on_path", "typed"),
    [
        (".venv/bin/kmworker", False, ".venv/bin/kmworker"),
        (".venv/bin/kmworker", True, "kmworker"),
        ("kmworker/__main__.py", False, "python -m kmworker"),
        ("kmworker/__main__.py", True, "kmworker"),
    ],
)
def test_what_to_type_next_works_where_it_was_called(
    program: Path, monkeypatch: pytest.MonkeyPatch, argv: str, is_on_path: bool, typed: str
) -> None:
    monkeypatch.setattr(sys, "argv", [argv])
    monkeypatch.setenv("PATH", str(program.parent) if is_on_path else "")
    assert _called() == typed


def test_another_installation_on_the_path_is_not_what_is_meant(
    program: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "kmworker").touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(folder / "kmworker")])
    monkeypatch.setenv("PATH", str(program.parent))
    assert _called() == str(folder / "kmworker")
