"""Keep what becomes of items and of key-ids: python subscribe_keys.py."""

import os
import signal

from kmworker.client import Assignment, KeyChange, Release, Subscriber

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")

# A real program keeps both in its database, and changes them in one transaction.
held: dict[str, set[str]] = {}
versions: dict[str, int] = {}


def act(assignment: Assignment) -> None:
    """Note who holds the key-id."""
    if assignment.key_id is not None:
        held.setdefault(assignment.key_id, set()).add(assignment.item.ref)
        print("holds", assignment.item.ref, assignment.key_id, flush=True)


def released(release: Release) -> None:
    """Forget one holder, and no key: others may hold it."""
    if release.key_id is not None:
        held.get(release.key_id, set()).discard(release.item.ref)
        print("gone", release.item.ref, release.key_id, flush=True)


def changed(change: KeyChange) -> None:
    """Go by the key-id's state, if it is newer than what is known."""
    if change.version <= versions.get(change.key_id, 1):
        return
    versions[change.key_id] = change.version
    print(change.event, change.key_id, "is", change.state, flush=True)
    if change.dek_destroyed:
        print("  no data under its key can be read again", flush=True)


with Subscriber(
    URL,
    queue=f"{NAMESPACE}.sub.keys",
    bindings=["key-assigned.#", "key-released.#"],
    key_bindings=["*.#"],
    namespace=NAMESPACE,
) as subscriber:
    signal.signal(signal.SIGTERM, lambda *_: subscriber.stop())
    print("listening", flush=True)
    subscriber.run(act, released, changed)
