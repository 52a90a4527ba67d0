"""``kmworker keyring``: the KEKs, by their fingerprints only."""

from kmworker.cli.frame.program import group
from kmworker.cli.keyring import archiving, leaking, making, stepping, telling

__all__ = ["app"]

app = group()


@app.callback()
def keyring() -> None:
    """Make KEKs, look at them, and turn them over."""


app.command(epilog=making.INIT_EXAMPLES)(making.init)
app.command(epilog=making.ADD_EXAMPLES)(making.add)
app.command(epilog=making.MOVE_EXAMPLES)(making.move)
app.command(epilog=stepping.ACTIVATE_EXAMPLES)(stepping.activate)
app.command(epilog=leaking.EXAMPLES)(leaking.compromise)
app.command(epilog=stepping.RETIRE_EXAMPLES)(stepping.retire)
app.command(epilog=archiving.REMOVE_EXAMPLES)(archiving.remove)
app.command(epilog=archiving.RESTORE_EXAMPLES)(archiving.restore)
app.command(epilog=telling.EXAMPLES)(telling.status)
