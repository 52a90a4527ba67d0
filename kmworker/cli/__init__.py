"""The command line.

A module here is a command, and so are the packages ``dead`` and ``doctor``; ``app`` lists them.
What they share is in four packages: ``frame`` (how each begins and ends, and what it reaches),
``arguments`` (what several take), ``installation`` (what several say of one) and ``terminal``.
"""

from kmworker.cli.app import main

__all__ = ["main"]
