"""How long a process takes from its start until its first assignment is confirmed."""

import time

from bench.contestants import Contestant
from bench.events import collections
from bench.servers import Servers
from bench.stage import Running, on_stage

POLL_S = 0.002


def measure(servers: Servers, contestant: Contestant) -> float:
    """Publish one event, start a process, and return the seconds until it is assigned."""
    with on_stage(servers, contestant) as stage:
        stage.publish(collections(1, 1, stage.namespace))
        began = time.monotonic()
        run = Running(stage)
        try:
            while not stage.assigned():
                run.check()
                time.sleep(POLL_S)
            return time.monotonic() - began
        finally:
            run.stop()
