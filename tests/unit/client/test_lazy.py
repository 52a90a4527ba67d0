"""Who publishes or subscribes loads nothing that has to do with keys."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["cryptography", "kmworker.delegation", "kmworker.crypto"])
def test_importing_the_library_does_not_load(module: str) -> None:
    script = f"import sys, kmworker.client; print({module!r} in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert told == "False\n"


def test_delegation_is_there_without_keks_and_records() -> None:
    script = (
        "import sys, kmworker.delegation.checking, kmworker.delegation.answers;"
        "print([it for it in ('kmworker.crypto', 'kmworker.store', 'redis') if it in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert told == "[]\n"
