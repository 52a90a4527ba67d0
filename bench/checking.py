"""Does everybody do the same job? Each handles a few events, and its store is checked.

Twice: by `kmworker verify`, which opens seals and wrapped DEKs, and by a checker that has nothing
of the product's.
"""

import os
import subprocess

from bench.contestants import PYTHON, Contestant
from bench.events import collections
from bench.servers import Servers
from bench.stage import on_stage, running
from bench.throughput import PROJECTS
from tests.kit.checker.contents import read_contents
from tests.kit.checker.rules import problems

BLOCK = 300
EVENTS = 3 * BLOCK


def check(servers: Servers, contestant: Contestant) -> None:
    """Let a contestant handle some events; nobody must find anything wrong with its store.

    Raises:
        RuntimeError: an assignment is missing or came twice, or a record is not as it should be.
    """
    with on_stage(servers, contestant) as stage:
        stage.publish(collections(EVENTS, PROJECTS, stage.namespace, BLOCK))
        with running(stage) as run:
            complete = run.await_assigned(EVENTS)
        assigned = stage.assigned()
        if not complete or assigned != EVENTS:
            raise RuntimeError(f"{contestant.name} made {assigned} assignments of {EVENTS}")
        store = read_contents(servers.client(decode=False), "km")
        wrong = list(problems(store))
        if items := EVENTS - sum(len(contents.items) for contents in store.values()):
            wrong.append(f"{items} items of {EVENTS} are not recorded")
        if wrong:
            raise RuntimeError("\n".join([contestant.name, *wrong]))
        verified = subprocess.run(
            [*PYTHON, "kmworker", "verify"],
            env=os.environ | servers.environment(stage.namespace, store="key-operator"),
            capture_output=True,
            text=True,
            check=False,
        )
        if verified.returncode:
            raise RuntimeError(f"{contestant.name}:\n{verified.stdout}{verified.stderr}")
