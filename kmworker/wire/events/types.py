"""Every type of event there is, in the order in which they are listed.

What is added here is known everywhere: to workers and policies, to schemas and commands, and to
programs that import `kmworker.client`.
"""

from kmworker.wire.events.replica_added import ReplicaAdded
from kmworker.wire.events.replica_removed import ReplicaRemoved
from kmworker.wire.events.snapshot_deleted import SnapshotDeleted
from kmworker.wire.events.snapshot_taken import SnapshotTaken
from kmworker.wire.events.volume_attached import VolumeAttached
from kmworker.wire.events.volume_created import VolumeCreated
from kmworker.wire.events.volume_deleted import VolumeDeleted
from kmworker.wire.events.volume_detached import VolumeDetached

__all__ = [  # noqa: RUF022  # an order of their own
    "VolumeCreated", "SnapshotTaken", "ReplicaAdded",
    "VolumeDeleted", "SnapshotDeleted", "ReplicaRemoved",
    "VolumeAttached", "VolumeDetached",
]  # fmt: skip
