"""Which process this is, among all that ever had its number and host name.

Numbers are given out again, and in containers every worker may be process 1 of a host of the
same name. The boot, the PID namespace and the time when a process began tell them apart.
"""

from pathlib import Path
from typing import Final

__all__ = ["incarnation", "is_of_here"]

PROC: Final = Path("/proc")
# Counted behind the command's name, which may hold spaces and brackets: see proc(5), stat.
START_TIME: Final = 19


def incarnation(pid: int, proc: Path = PROC) -> str:
    """Return what tells a process that runs from all others, '' where there is none to be seen.

    Args:
        pid: its number, as this process sees it.
        proc: where the kernel shows processes; see proc(5).
    """
    place = _place(proc)
    try:
        _, _, fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")
        return f"{place}/{fields.split()[START_TIME]}" if place else ""
    except (OSError, IndexError):
        return ""


def is_of_here(theirs: str, proc: Path = PROC) -> bool:
    """Return whether a process with this incarnation could be seen from here, were it running."""
    place = _place(proc)
    return bool(place) and theirs.rpartition("/")[0] == place


def _place(proc: Path) -> str:
    """Return what all processes have in common that this one can see."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        # Of our own: that of another user's process is not to be read.
        return f"{boot}/{(proc / 'self/ns/pid').readlink()}"
    except OSError:
        return ""
