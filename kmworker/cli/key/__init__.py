"""``kmworker key``: what people do with single keys."""

from kmworker.cli.frame.program import group
from kmworker.cli.key import changing, compromising, destroying, export, looking

__all__ = ["app"]

app = group()


@app.callback()
def key() -> None:
    """Look at keys, change their states, export DEKs."""


app.command(epilog=looking.SHOW_EXAMPLES)(looking.show)
app.command("list", epilog=looking.LIST_EXAMPLES)(looking.list_)
app.command(epilog=changing.SUSPEND_EXAMPLES)(changing.suspend)
app.command(epilog=changing.RESUME_EXAMPLES)(changing.resume)
app.command(epilog=changing.RESTORE_EXAMPLES)(changing.restore)
app.command(epilog=compromising.EXAMPLES)(compromising.compromise)
app.command(epilog=destroying.EXAMPLES)(destroying.destroy)
app.command(epilog=export.EXAMPLES)(export.export)
