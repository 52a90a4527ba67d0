"""Measure what rsync moves of replicas, and write docs/replication.md: `make replication`."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.replication.daemon import daemon
from bench.replication.document import rendered, rows
from bench.replication.measuring import Measured, measure
from kmworker.files.replication import DATA

DOCUMENT = Path(__file__).parents[2] / "docs" / "replication.md"


def main() -> None:
    """Measure, print the table, and write it down."""
    parser = argparse.ArgumentParser(prog="make replication", description="Count rsync's bytes.")
    parser.add_argument("--mib", type=int, default=16, help="size of the file, 16 if left out")
    parser.add_argument("--no-write", action="store_true", help="print the tables alone")
    options = parser.parse_args()
    print(f"counting what rsync moves of a file of {options.mib} MiB: a minute", file=sys.stderr)
    measured = measured_here(options.mib)
    print("\n".join(rows(asdict(measured))))
    if not options.no_write:
        DATA.write_text(json.dumps(asdict(measured), indent=2) + "\n")
        DOCUMENT.write_text(rendered(DOCUMENT.read_text(), asdict(measured)))


def measured_here(mib: int) -> Measured:
    """Measure in a folder of its own."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with daemon(folder) as receiver:
            return measure(receiver, folder, mib)


if __name__ == "__main__":
    main()
