"""A disk that is full for one store.

No file of its server's may become larger than the largest is now, so that the server's writes fail
where those to a full disk do, with another number, and no other process notices. Its next process
has no such limit.
"""

import resource
from typing import Final

from tests.kit.servers import Server

# The server still writes what it was told before this.
SLACK_BYTES: Final = 16 * 1024


def fill_disk(server: Server) -> None:
    """Leave next to no room for what the running server writes."""
    largest = max(path.stat().st_size for path in server.folder.rglob("*") if path.is_file())
    limits = (largest + SLACK_BYTES, resource.RLIM_INFINITY)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
