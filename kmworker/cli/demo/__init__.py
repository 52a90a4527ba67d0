"""``kmworker demo``: a sample collection gets its keys, and a node gets one of them."""

from kmworker.cli.demo import collection
from kmworker.cli.frame.program import group

__all__ = ["app"]

app = group()
app.command(epilog=collection.EXAMPLES)(collection.demo)
