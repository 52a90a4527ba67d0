"""Every type of event there is, in the order in which they are listed.

What is added here is known everywhere: to workers and policies, to schemas and commands, and to
programs that import `kmworker.client`.
"""

from kmworker.wire.events.replica_added import ReplicaAdded
from kmworker.wire.events.snapshot_taken import SnapshotTaken
from kmworker.wire.events.volume_created import VolumeCreated

__all__ = ["VolumeCreated", "SnapshotTaken", "ReplicaAdded"]  # noqa: RUF022  # an order of their own
