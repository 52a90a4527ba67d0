"""Every type of event there is, by its name."""

from collections.abc import Mapping
from typing import Final

from kmworker.wire.events import replica_added, snapshot_taken, volume_created
from kmworker.wire.events.definition import Definition

__all__ = ["DEFINITIONS"]

DEFINITIONS: Final[Mapping[str, Definition]] = {
    module.DEFINITION.event.type: module.DEFINITION
    for module in (volume_created, snapshot_taken, replica_added)
}
