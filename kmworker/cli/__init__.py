"""The command line."""

from kmworker.cli.app import main

__all__ = ["main"]
