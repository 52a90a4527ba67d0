"""``kmworker audit``: reading the audit trail, which is a right of its own: that on its files."""

from kmworker.cli.audit import exporting, tailing, verifying
from kmworker.cli.frame.program import group

__all__ = ["app"]

app = group()


@app.callback()
def audit() -> None:
    """Read, export and verify the audit trail."""


app.command(epilog=tailing.EXAMPLES)(tailing.tail)
app.command(epilog=exporting.EXAMPLES)(exporting.export)
app.command(epilog=verifying.EXAMPLES)(verifying.verify)
