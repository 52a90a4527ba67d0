"""Keep a volume's key until it is to be given up: python keep_key.py PROJECT VOLUME."""

import os
import sys
from pathlib import Path
from queue import Queue

from kmworker.client import GivenUp, Item, Keys, Kind

project, volume = sys.argv[1:]
folder = Path(os.environ.get("HOST_FOLDER", "/etc/kmworker"))
ended: Queue[GivenUp] = Queue()
keys = Keys(
    os.environ["BROKER_URL"],
    identity=folder / "identity.json",
    enrolment=folder / "enrolment.json",
    namespace=os.environ.get("NAMESPACE", "kmworker"),
    keep=True,
    on_given_up=ended.put,  # it is wiped by then; another thread says so
)
item = Item(project, Kind.VOLUME, volume)
with keys:
    for _ in range(2):
        # The second time nobody is asked. Each caller has, and wipes, a buffer of its own.
        with keys.get(item) as delivered:
            print(delivered.key_id, len(delivered.key.view), flush=True)
    given_up = ended.get()
    print(given_up.item.ref, given_up.cause.value)
