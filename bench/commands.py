"""Commands on private servers, each with its account, and what they take."""

import os
import subprocess
import time
from dataclasses import dataclass

from bench.contestants import PYTHON
from bench.servers import Servers

__all__ = ["Cost", "environment", "figures", "timed"]


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    seconds: float
    cpu_s: float
    """Of its own."""
    store_cpu_s: float
    said: str


def figures(cost: Cost) -> list[str]:
    """Return what it took, for a table."""
    return [f"{it:.1f}" for it in (cost.seconds, cost.cpu_s, cost.store_cpu_s)]


def timed(servers: Servers, account: str, *command: str, exit_code: int = 0) -> Cost:
    """Run a command with an account of the store's; say what it took."""
    before, store_before = os.times(), _store_cpu_s(servers)
    began = time.monotonic()
    ended = subprocess.run(
        [*PYTHON, "kmworker", *command],
        env=environment(servers, account), capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    after = os.times()
    if ended.returncode != exit_code:
        raise RuntimeError(f"{command} ended with {ended.returncode}:\n{ended.stderr}")
    user_s = after.children_user - before.children_user
    system_s = after.children_system - before.children_system
    return Cost(seconds, user_s + system_s, _store_cpu_s(servers) - store_before, ended.stdout)


def _store_cpu_s(servers: Servers) -> float:
    found = servers.client().info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def environment(servers: Servers, account: str) -> dict[str, str]:
    """Return the variables of a command that has an account of the store's."""
    return os.environ | servers.environment("bench", store=account)
