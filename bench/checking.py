"""Does everybody do the same job? Each handles a few events, and its store is verified."""

import os
import subprocess

from bench.contestants import PYTHON, Contestant
from bench.events import collections, project_id
from bench.servers import Servers
from bench.stage import on_stage, running
from bench.throughput import PROJECTS

BLOCK = 300
EVENTS = 3 * BLOCK


def check(servers: Servers, contestant: Contestant) -> None:
    """Let a contestant handle some events; `kmworker verify` must find nothing wrong.

    Raises:
        RuntimeError: an assignment is missing or came twice, or a record is not as it should be.
    """
    with on_stage(servers, contestant) as stage:
        stage.publish(collections(EVENTS, PROJECTS, stage.namespace, BLOCK))
        with running(stage) as run:
            complete = run.await_assigned(EVENTS)
        assigned, client = stage.assigned(), servers.client()
        if not complete or assigned != EVENTS:
            raise RuntimeError(f"{contestant.name} made {assigned} assignments of {EVENTS}")
        items = sum(client.hlen(f"km:{{{project_id(p)}}}:items") for p in range(PROJECTS))
        if items != EVENTS:
            raise RuntimeError(f"{contestant.name} recorded {items} items of {EVENTS}")
        verified = subprocess.run(
            [*PYTHON, "kmworker", "verify"],
            env=os.environ | servers.environment(stage.namespace, store="key-operator"),
            capture_output=True,
            text=True,
            check=False,
        )
        if verified.returncode:
            raise RuntimeError(f"{contestant.name}:\n{verified.stdout}{verified.stderr}")
