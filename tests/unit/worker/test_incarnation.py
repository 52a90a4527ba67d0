"""A process is told from all others that have or had its number and host name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmworker.worker.incarnation import incarnation, is_of_here


def kernel(folder: Path, boot: str, namespace: str, **started: str) -> Path:
    """What a kernel shows: when each process began, by number."""
    (folder / "sys/kernel/random").mkdir(parents=True)
    (folder / "sys/kernel/random/boot_id").write_text(f"{boot}\n")
    (folder / "self/ns").mkdir(parents=True)
    (folder / "self/ns/pid").symlink_to(f"pid:[{namespace}]")
    for name, ticks in started.items():
        (folder / name[1:]).mkdir()
        before = " ".join("0" for _ in range(19))
        (folder / name[1:] / "stat").write_text(f"{name[1:]} (a (b) c) {before} {ticks} 0 0\n")
    return folder


def test_this_very_process_is_known_again_and_one_that_came_after_is_another() -> None:
    ours = incarnation(os.getpid())
    assert ours
    assert ours == incarnation(os.getpid())
    assert is_of_here(ours)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        theirs = incarnation(child.pid)
        child.communicate(b"\n")
    assert is_of_here(theirs)
    assert theirs != ours
    assert incarnation(child.pid) == ""


@pytest.mark.parametrize(
    ("other", "is_here"),
    [
        pytest.param({"boot": "a", "namespace": "1", "p1": "501"}, True, id="a predecessor"),
        pytest.param({"boot": "a", "namespace": "2", "p1": "500"}, False, id="a neighbour"),
        pytest.param({"boot": "b", "namespace": "1", "p1": "500"}, False, id="before a reboot"),
    ],
)
def test_process_1_of_one_container_is_not_that_of_another(
    tmp_path: Path, other: dict[str, str], is_here: bool
) -> None:
    here = kernel(tmp_path / "here", "a", "1", p1="500")
    theirs = incarnation(1, kernel(tmp_path / "there", **other))
    assert theirs
    assert theirs != incarnation(1, here)
    assert is_of_here(theirs, here) is is_here


def test_where_a_kernel_shows_nothing_nobody_is_known(tmp_path: Path) -> None:
    assert incarnation(1, tmp_path) == ""
    assert not is_of_here("", tmp_path)
