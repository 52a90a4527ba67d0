"""What processes take, read from /proc: CPU time with all their children, and memory."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/<pid>/stat behind the name: state is 0.
PARENT, USER, SYSTEM, REAPED_USER, REAPED_SYSTEM = 1, 11, 12, 13, 14


@dataclass(frozen=True, slots=True)
class MachineTime:
    """Seconds of all cores together since the start of the machine."""

    busy_s: float
    idle_s: float
    waiting_s: float
    """Idle while a disk was at work."""


def pids_below(root: int) -> set[int]:
    """Return a process and all below it."""
    parents = {pid: int(fields[PARENT]) for pid in _all_pids() if (fields := _stat(pid))}
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return user and system time, that of children that have ended included."""
    ticks = 0
    for pid in pids:
        if fields := _stat(pid):
            ticks += sum(int(fields[at]) for at in (USER, SYSTEM, REAPED_USER, REAPED_SYSTEM))
    return ticks / TICKS


def resident_mb(pid: int) -> float:
    """Return what a process has in memory."""
    return _memory_mb(pid, "VmRSS:")


def peak_mb(pid: int) -> float:
    """Return the most that it has had."""
    return _memory_mb(pid, "VmHWM:")


def _memory_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith(name))
    return kilobytes / 1024


def machine_time() -> MachineTime:
    """Read the whole machine's time."""
    fields = [int(field) / TICKS for field in Path("/proc/stat").read_text().split()[1:9]]
    user, nice, system, idle, waiting, hard, soft, stolen = fields
    return MachineTime(user + nice + system + hard + soft + stolen, idle, waiting)


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Return the fields behind the name, which may hold anything; none if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
