"""`kmworker schemas`: the files that are in the repository, from the program alone."""

import subprocess
import sys
from pathlib import Path

from tests.kit.cli.stand import run

SHIPPED = Path(__file__).parents[3] / "schemas"


def test_the_files_are_written_as_they_are_shipped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kmworker", "schemas", "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in SHIPPED.iterdir()}


def test_without_a_folder_all_are_printed() -> None:
    printed = run("schemas").stdout
    for path in SHIPPED.iterdir():
        assert f"# {path.name}\n{path.read_text()}" in printed
