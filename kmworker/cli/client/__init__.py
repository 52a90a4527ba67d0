"""``kmworker client``: hosts that may ask for keys, and what a host does to be one."""

from kmworker.cli.client import enrolling, getting, hosting, looking, revoking
from kmworker.cli.frame.program import group

__all__ = ["app"]

app = group()


@app.callback()
def client() -> None:
    """Make a host a client, and get keys as one."""


app.command(epilog=hosting.INIT_EXAMPLES)(hosting.init)
app.command(epilog=enrolling.ENROLL_EXAMPLES)(enrolling.enroll)
app.command(epilog=hosting.PIN_EXAMPLES)(hosting.pin)
app.command("list", epilog=looking.LIST_EXAMPLES)(looking.list_)
app.command(epilog=looking.SHOW_EXAMPLES)(looking.show)
app.command(epilog=enrolling.RENEW_EXAMPLES)(enrolling.renew)
app.command(epilog=revoking.EXAMPLES)(revoking.revoke)
app.command(epilog=getting.EXAMPLES)(getting.get)
