"""What is installed is named once more, to the byte: `requirements/`, written by `make lock`."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[3]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES: Final = {
    "run": ("build",),
    "dev": ("check", "test"),
    "bench": ("bench",),
    "barbican": ("barbican",),
    "tools": ("tools",),
}
"""Each file, and the dependency groups that it holds."""
WITHOUT_OURS: Final = frozenset({"barbican", "tools"})
"""Those that do not hold what the project itself depends on."""
PYTHON: Final = "Programming Language :: Python :: "
VERSIONS: Final = [
    it.removeprefix(PYTHON) for it in PROJECT["project"]["classifiers"] if PYTHON in it
]


def locked(name: str) -> list[Requirement]:
    """Read a file, which has pinned names and digests, and nothing else."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    text = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)
    found = []
    for line in text.replace("\\\n", "").splitlines():
        pinned, *digests = re.split(r"\s+--hash=", line.strip())
        assert digests, f"{pinned} has no digest"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests)
        requirement = Requirement(pinned)
        assert requirement.url is None
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), f"{pinned} is not pinned"
        found.append(requirement)
    return found


def asked_for(name: str) -> list[Requirement]:
    """Return what pyproject.toml wants to have where a file is installed."""
    groups = PROJECT["dependency-groups"]
    wanted = [] if name in WITHOUT_OURS else list(PROJECT["project"]["dependencies"])
    if name not in WITHOUT_OURS:
        wanted += PROJECT["project"]["optional-dependencies"]["embedded"]
    waiting = list(FILES[name])
    while waiting:
        for it in groups[waiting.pop()]:
            waiting += [it["include-group"]] if isinstance(it, dict) else []
            wanted += [] if isinstance(it, dict) else [it]
    return [Requirement(it) for it in wanted]


@pytest.mark.parametrize("python", VERSIONS)
@pytest.mark.parametrize("name", FILES)
def test_what_is_asked_for_is_locked(name: str, python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.5"}

    def is_meant(it: Requirement) -> bool:
        return it.marker is None or it.marker.evaluate(environment)

    holds = {it.name: str(it.specifier).removeprefix("==") for it in locked(name) if is_meant(it)}
    for wanted in asked_for(name):
        if is_meant(wanted):
            assert wanted.name in holds, f"{wanted}: run make lock"
            assert wanted.specifier.contains(holds[wanted.name]), f"{wanted}: run make lock"


def test_what_runs_is_what_was_tested() -> None:
    run, dev = ({(it.name, it.specifier) for it in locked(name)} for name in ("run", "dev"))
    assert run <= dev
