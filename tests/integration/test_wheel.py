"""The wheel, installed where there is no repository."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is built for others."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (path,) = folder.glob("kmworker-*.whl")
    return path


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's program, in an environment of its own."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*install, str(wheel)], check=True)
    # What it needs is lent by this environment; a path in a file brings no editable installs along.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "kmworker"


def printed(program: Path, folder: Path, *arguments: str) -> str:
    """Run the installed program far from the repository, with nothing configured."""
    environ = {"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath}
    done = subprocess.run(
        [str(program), *arguments], env=environ, cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_program_is_the_wheels(program: Path, tmp_path: Path) -> None:
    python = program.with_name("python")
    ask = [str(python), "-c", "import kmworker; print(kmworker.__file__)"]
    where = subprocess.run(ask, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(where.strip()).is_relative_to(program.parents[1])


def test_its_demonstration_runs_to_the_end(program: Path, tmp_path: Path) -> None:
    # The worker in it needs the Lua scripts, the policy and the embedded server.
    out = printed(program, tmp_path, "demo")
    assert "  malformed: the body is not JSON" in out.splitlines()


def test_it_decides_by_the_shipped_policy(program: Path, tmp_path: Path) -> None:
    rules = json.loads(printed(program, tmp_path, "explain", "--json"))["rule"]
    assert rules[0]["name"] == "blank-volumes-get-a-key"
    assert (ROOT / "config" / "policy.toml").read_text().count("[[rule]]") == len(rules)


def test_it_writes_the_schemas_of_the_repository(program: Path, tmp_path: Path) -> None:
    printed(program, tmp_path, "schemas", "--output", "schemas")
    written = {path.name: path.read_text() for path in (tmp_path / "schemas").iterdir()}
    assert written == {path.name: path.read_text() for path in (ROOT / "schemas").glob("*.*")}


def test_its_metadata_says_what_an_index_shows(wheel: Path) -> None:
    with ZipFile(wheel) as opened:
        names = opened.namelist()
        (place,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata: Message = Parser().parsestr(opened.read(place).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert all(metadata[name] for name in ("Summary", "Author", "Keywords", "Requires-Python"))
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "kmworker/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "config/"))]
