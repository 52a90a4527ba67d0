"""Deliveries a second and how long they take, beside what one would use instead; and a boot storm.

    python -m bench.delivering                  as below, some six minutes
    python -m bench.delivering --barbican       Barbican, too, once `make barbican` was run
    python -m bench.delivering --volumes 200 --nodes 5 --seconds 2      to see that it runs

Private servers, shipped accounts. Clients are processes of their own, which open what they get;
in the storm each process is many nodes, each with its identity, account and connection. Ratios
within one run are what counts: all of it shares the machine. What of it each takes is in the last
columns: microseconds of CPU for each delivery, and how many a second of that all cores would make.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.delivering.barbican import barbican
from bench.delivering.clients import PROCESSES, THREADS, Clients, client_processes
from bench.delivering.installed import Installation, installed
from bench.delivering.openbao import openbao
from bench.delivering.threads import Peer
from bench.delivering.waits import HEADS, Parties
from bench.processes import peak_mb, pids_below
from bench.tables import table
from tests.kit.outside.delegating import serving

VOLUMES: Final = 10_000
NODES: Final = 200
SECONDS: Final = 10.0
RATE_PER_S: Final = 100.0

Running = Callable[[Path], AbstractContextManager[tuple[Peer, int]]]
"""Runs a server in a folder; gives a client of it, and its process id."""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.delivering", description=__doc__)
    parser.add_argument("--volumes", type=int, default=VOLUMES, help="of all nodes together")
    parser.add_argument("--nodes", type=int, default=NODES, help="in the storm")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--barbican", action="store_true", help="measure it, too")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with TemporaryDirectory(prefix="kmworker-bench-") as name, ExitStack() as stack:
        folder, clients = Path(name), stack.enter_context(client_processes())
        rows = list(beside(clients, folder, given.seconds, with_barbican=given.barbican))
        with installed(folder, given.volumes, given.nodes) as made:
            rows = [*key_servers(clients, made, given.seconds), *rows]
            print("\n".join(table(HEADS, rows)))
            print(f"\nboot storm: {given.volumes:,} volumes by {given.nodes} nodes, all at once")
            print("\n".join(table(HEADS, list(storms(clients, made)))))
    print(f"load average before: {load:.1f}, of {os.cpu_count()} cores, which all of this shares")


def key_servers(clients: Clients, made: Installation, seconds: float) -> Iterator[list[str]]:
    """Give a row for each measurement of ours."""
    nodes = made.nodes[:PROCESSES]
    for number in (1, 2):
        with serving(made.unbound(), number) as serve:
            parties = replace(made.parties, servers=[it.process.pid for it in serve])
            name = _so_many(number)
            yield clients.pipelined(f"{name}, as many as can be", parties, nodes, seconds)
            yield clients.threaded(f"{name}, {THREADS} threads", parties, nodes, seconds)
            rate = f"{name}, {RATE_PER_S:g} a second"
            yield clients.threaded(rate, parties, nodes, seconds, RATE_PER_S)


def beside(
    clients: Clients, folder: Path, seconds: float, *, with_barbican: bool
) -> Iterator[list[str]]:
    """Give a row for each measurement of what is beside us, each by itself on the machine."""
    peers: dict[str, Running] = {"OpenBao transit decrypt": openbao}
    if with_barbican:
        peers["Barbican GET payload"] = barbican
    for name, running in peers.items():
        with running(folder / name.partition(" ")[0].lower()) as (peer, pid):
            parties, processes = Parties([pid]), [peer] * PROCESSES
            yield clients.threaded(f"{name}, {THREADS} threads", parties, processes, seconds)
            rate = f"{name}, {RATE_PER_S:g} a second"
            yield clients.threaded(rate, parties, processes, seconds, RATE_PER_S)


def storms(clients: Clients, made: Installation) -> Iterator[list[str]]:
    """Give a row for each storm; each client may ask as often as it may by default."""
    for number in (1, 2):
        with serving(made.site, number) as serve:
            pids = [it.process.pid for it in serve]
            parties = replace(made.parties, servers=pids)
            yield clients.storm(_so_many(number), parties, made.nodes)
            each = {"key servers": pids, "broker": parties.broker, "store": parties.store}
            told = (f"{name} {_peak(it):,.0f}" for name, it in each.items())
            print(f"{_so_many(number)}: MB in memory at most: {', '.join(told)}")


def _peak(pids: Sequence[int]) -> float:
    return sum(peak_mb(it) for pid in pids for it in pids_below(pid))


def _so_many(number: int) -> str:
    return f"{number} key server{'s' if number > 1 else ''}"


if __name__ == "__main__":
    main()
