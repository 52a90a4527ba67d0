"""Act on the assignments of volumes: python subscribe_client.py."""

import os
import signal

from kmworker.client import Assignment, DataAction, Subscriber

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")


def act(assignment: Assignment) -> None:
    """Do what must be done, so that doing it twice does no harm; an exception brings it again."""
    print(assignment.item.project, assignment.item.ref, assignment.key_id, flush=True)
    if assignment.data_action is DataAction.REENCRYPT:
        print("  re-encrypt its data from", assignment.reencrypt_from, flush=True)
    elif assignment.data_action is DataAction.ENCRYPT:
        print("  encrypt the data that it copies", flush=True)
    elif assignment.data_action is DataAction.DECRYPT:
        print("  decrypt the data that it copies, from", assignment.reencrypt_from, flush=True)


with Subscriber(
    URL, queue=f"{NAMESPACE}.sub.client", bindings=["key-assigned.volume.#"], namespace=NAMESPACE
) as subscriber:
    signal.signal(signal.SIGTERM, lambda *_: subscriber.stop())
    print("listening", flush=True)
    subscriber.run(act)
