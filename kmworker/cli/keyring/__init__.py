"""``kmworker keyring``: the KEKs, by their fingerprints only."""

from kmworker.cli.frame.program import group
from kmworker.cli.keyring import making, stepping, telling

__all__ = ["app"]

app = group()


@app.callback()
def keyring() -> None:
    """Make KEKs, look at them, and turn them over."""


app.command(epilog=making.INIT_EXAMPLES)(making.init)
app.command(epilog=making.ADD_EXAMPLES)(making.add)
app.command(epilog=making.MOVE_EXAMPLES)(making.move)
app.command(epilog=stepping.ACTIVATE_EXAMPLES)(stepping.activate)
app.command(epilog=stepping.RETIRE_EXAMPLES)(stepping.retire)
app.command(epilog=telling.EXAMPLES)(telling.status)
