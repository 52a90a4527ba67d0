"""The same job on other people's frameworks, each as its own documentation recommends.

Each module is a program that its framework's own command starts. They read the same environment as
the worker (`KMWORKER_…`) and two names more: the queue to consume, and how many to prefetch.
"""

import os
import time

from kmworker.settings import load_settings

__all__ = ["NOW", "PREFETCH", "QUEUE", "SETTINGS"]

SETTINGS = load_settings()
QUEUE = os.environ["BENCH_QUEUE"]
PREFETCH = int(os.environ.get("BENCH_PREFETCH", "256"))
NOW = time.time
