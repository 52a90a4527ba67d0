"""`kmworker schemas`: the files that are in the repository; a wheel writes them, too."""

from pathlib import Path

from tests.kit.cli.stand import run

SHIPPED = Path(__file__).parents[3] / "schemas"


def test_without_a_folder_all_are_printed() -> None:
    printed = run("schemas").stdout
    for path in SHIPPED.glob("*.*"):
        assert f"# {path.name}\n{path.read_text()}" in printed
