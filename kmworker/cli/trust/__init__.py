"""``kmworker trust``: which keys of key servers clients believe."""

from kmworker.cli.frame.program import group
from kmworker.cli.trust import keeping, publishing

__all__ = ["app"]

app = group()


@app.callback()
def trust() -> None:
    """Make the root key, sign lists of key servers' keys, and hand them out."""


app.command(epilog=keeping.INIT_EXAMPLES)(keeping.init)
app.command(epilog=keeping.KEY_EXAMPLES)(keeping.key)
app.command(epilog=keeping.SIGN_EXAMPLES)(keeping.sign)
app.command(epilog=publishing.PUBLISH_EXAMPLES)(publishing.publish)
app.command(epilog=publishing.SHOW_EXAMPLES)(publishing.show)
