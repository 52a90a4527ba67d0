"""Run the unit tests, and a real worker, on each Python that pyproject.toml says we run on.

`make pythons` calls this. An interpreter is the one on the PATH, or of pyenv; where there is
none it is unpacked from Debian, as servers are (`servers/unpack.py`). What is tested with is
installed from the lock, so that this holds for each of them, too.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from tests.kit.servers import unpack

ROOT: Final = Path(__file__).parents[2]
SUITE: Final = "sid"
# What scripts under test call; the rest of a system is unpacked anyway.
BESIDE: Final = ("bash", "ca-certificates")
# Of this machine, so that pip finds a registry from in there.
LENT: Final = ("resolv.conf", "pip.conf", "ssl/certs/ca-certificates.crt")
TESTS: Final = ("tests/unit", "tests/integration/test_demo.py")
HAS_VENV: Final = ("-c", "import ensurepip, venv")
WHAT_IT_IS: Final = ("-c", "import platform; print(platform.python_version())")


def main() -> None:
    """Try those that are named, or all of them; say of each what came of it."""
    told = {version: tried(version) for version in sys.argv[1:] or claimed()}
    print("\n".join(f"Python {version}: {what}" for version, (what, _) in told.items()))
    sys.exit(not all(is_good for _, is_good in told.values()))


def claimed() -> list[str]:
    """Return the versions that our classifiers name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    last = [it.rpartition(" :: ")[2] for it in project["classifiers"] if ":: Python ::" in it]
    return [it for it in last if "." in it]


def tried(version: str) -> tuple[str, bool]:
    """Run the tests on one version; return what to say of it, and whether that is good."""
    python = here(version) or from_debian(version)
    if python is None:
        return f"not tried: neither here nor to be had from Debian {SUITE}", False
    folder = ROOT / ".venv-pythons" / version
    own = [*python[:-1], str(folder / "bin" / "python")]
    pip = [*own, "-m", "pip", "install", "--quiet"]
    steps = (
        [*python, "-m", "venv", "--clear", str(folder)],
        [*pip, "--requirement", "requirements/dev.txt"],
        [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
        [*own, "-m", "pytest", "-n", "2", "--dist=worksteal", "-p", "no:cacheprovider", *TESTS],
    )
    for step in steps:
        if subprocess.run(step, cwd=ROOT, check=False).returncode:
            return f"failed: {' '.join(step)}", False
    exact = subprocess.run([*own, *WHAT_IT_IS], capture_output=True, text=True, check=True).stdout
    return f"{exact.strip()}, passed", True


def here(version: str) -> list[str] | None:
    """Return the command of an interpreter that this machine has."""
    on_path = shutil.which(f"python{version}")
    of_pyenv = Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")
    for found in [*filter(None, [on_path]), *map(str, of_pyenv)]:
        # A shim of pyenv's stands for versions that are switched off, too.
        if not subprocess.run([found, *HAS_VENV], capture_output=True, check=False).returncode:
            return [found]
    return None


def from_debian(version: str) -> list[str] | None:
    """Return the command of an interpreter that was unpacked."""
    folder = unpack.cache() / f"{SUITE}-python{version}"
    if not folder.exists() and not unpack.may_unpack():
        return None
    try:
        unpack.make(folder, SUITE, (f"python{version}-venv", *BESIDE))
    except subprocess.CalledProcessError:
        return None
    root = folder / "root"
    for name in LENT:
        if Path("/etc", name).exists():
            (root / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/etc", name), root / "etc" / name)
    entered = [str(unpack.IN_ROOT), str(root), "/usr/bin/env", f"--chdir={ROOT}"]
    return [*entered, f"/usr/bin/python{version}"]


if __name__ == "__main__":
    main()
