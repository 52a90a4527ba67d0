"""``python -m kmworker``."""

from kmworker.cli import main

main()
