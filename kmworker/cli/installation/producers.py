"""Who is heard, by policy and broker together: for doctor, and before a replay in vain."""

from typing import Annotated, Final

import typer

from kmworker.bootstrap.worker import read_policy, refuse_unheard
from kmworker.bus.amqp.tls import known_as, kombu_options
from kmworker.cli.terminal.output import plural
from kmworker.domain.policy import Policy
from kmworker.errors import SetupError
from kmworker.settings import Settings
from kmworker.settings.urls import STREAM_SCHEMES
from kmworker.wire.topology import Topology

__all__ = ["UserOption", "refuse_vain_replay", "who_is_heard"]

LIST_THEM: Final = 'list them as [[producer]]: docs/operations.md, "Producers"'


UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="U", help="Your name at the broker, if not the URL's user."),
]


def who_is_heard(settings: Settings, policy: Policy) -> tuple[str, str]:
    """Return who is heard, and what to do about it if that is more than it should be.

    Raises:
        SetupError: nobody is.
    """
    refuse_unheard(policy, settings)
    if not policy.producer:
        if _has_no_users(settings):
            return "whoever may use the embedded server, its owner", ""
        exchange = Topology(settings.broker.namespace).events
        # Who may publish is not for a user of the broker to see.
        return f"whoever may publish to {exchange}, for every project", LIST_THEM
    replaying = sum(producer.replay for producer in policy.producer)
    return f"{plural(len(policy.producer), 'producer')}, {replaying} of which may replay", ""


def refuse_vain_replay(settings: Settings, user: str | None) -> None:
    """Refuse to replay as a user whose replays do not count: dead letters would lose their users.

    Raises:
        SetupError: the policy lists producers, and this user is none that may replay.
    """
    producers = read_policy(settings).producers
    if producers is None or _has_no_users(settings):
        return
    urls = settings.broker.addresses
    names = [known_as(kombu_options(url)) for url in urls] if user is None else [user]
    for name in names:
        if name is None:
            hint = "name it with --user, as the broker knows it"
            raise SetupError("a certificate alone does not say which producer replays", hint)
        if not producers.may_replay(name):
            hint = "replay as one whose [[producer]] in the policy says replay = true"
            raise SetupError(f"user {name} may not replay: its events would be not-allowed", hint)


def _has_no_users(settings: Settings) -> bool:
    return (settings.broker.url or "").partition(":")[0] in STREAM_SCHEMES
