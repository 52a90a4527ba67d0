"""Who may say what: the producers that a policy lists, and how far each one reaches.

RabbitMQ compares a message's property `user_id` with the user of the connection that
publishes it, and refuses any other; but a publisher may leave it out. So where producers
are listed, only what has it is heard.

A dead letter keeps its event's user in a header. Anybody can write a header: it counts only
where the message's own, validated user is a producer that may replay, and is written anew, or
emptied, whenever a dead letter is made.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import Field

from kmworker.domain.contradiction import shown
from kmworker.domain.event import Happening
from kmworker.domain.message import LEFT_OFF
from kmworker.domain.policy_tables import Globs, Table, matches_any

__all__ = ["USER_HEADER", "Producer", "Producers", "sender", "vouching"]

USER_HEADER: Final = "x-kmworker-user"
"""Of a dead letter, and of a replayed event: whose event it is; empty if nobody's."""
# Answers that are remembered. A project's name is among the questions, hence a bound.
REMEMBERED: Final = 4_096


class Producer(Table):
    """A user of the broker, and what it may speak of."""

    user: Annotated[str, Field(min_length=1, max_length=255)]
    """As the broker knows it; one name, compared letter by letter."""
    projects: Globs = ()
    """Of the events' items and of their sources."""
    types: Globs = ()
    """Of events."""
    replay: bool = False
    """Whether what it sends again from the dead letters counts as its first sender's."""


class Producers:
    """The producers of a policy, by what they are asked for each event."""

    def __init__(self, listed: Sequence[Producer]) -> None:
        self._by_user = {producer.user: producer for producer in listed}
        self._objection: Callable[[str, str, str, str], str | None] = lru_cache(REMEMBERED)(
            self._beyond
        )

    def objection(self, event: Happening, properties: Mapping[str, Any]) -> str | None:
        """Return why the event's sender may not say it, for a person; None if it may.

        Args:
            event: that ends an item, or makes one that is not assigned yet.
            properties: of the message that brought it.
        """
        user = self.user_of(properties)
        if user is None:
            return _unsigned(properties)
        source, project = event.derived_from, event.item.project
        return self._objection(
            user, event.cause.type, project, project if source is None else source.project
        )

    def user_of(self, properties: Mapping[str, Any]) -> str | None:
        """Return whose event a message is: its sender's, or, replayed, its first sender's."""
        user = sender(properties)
        if user is None or not self.may_replay(user):
            return user
        headers = properties.get("application_headers") or {}
        if USER_HEADER in headers:
            return _name(headers[USER_HEADER])
        # The header may be what was left off, and a replay is not its operator's own word.
        return None if LEFT_OFF in headers else user

    def may_replay(self, user: str) -> bool:
        """Return whether this user may send dead letters again as their first sender's."""
        producer = self._by_user.get(user)
        return producer is not None and producer.replay

    def _beyond(self, user: str, event_type: str, project: str, source_project: str) -> str | None:
        name = shown(user)
        producer = self._by_user.get(user)
        if producer is None:
            return f"user {name} is no producer in the policy"
        if not matches_any(producer.types, event_type):
            return f"producer {name} may not publish {event_type}"
        if not matches_any(producer.projects, project):
            return f"producer {name} may not speak for project {shown(project)}"
        if not matches_any(producer.projects, source_project):
            return f"producer {name} may not name a source of project {shown(source_project)}"
        return None


def sender(properties: Mapping[str, Any]) -> str | None:
    """Return the user that published a message, if it says so."""
    return _name(properties.get("user_id"))


def vouching(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the properties says whose event a message is, and nothing else."""
    kept: dict[str, Any] = {}
    if (user := sender(properties)) is not None:
        kept["user_id"] = user
    header = (properties.get("application_headers") or {}).get(USER_HEADER)
    if isinstance(header, str):
        kept["application_headers"] = {USER_HEADER: header}
    return kept


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _unsigned(properties: Mapping[str, Any]) -> str:
    if sender(properties) is None:
        return "no user vouches for it: the message has no property user_id"
    return "no user vouches for it: it is replayed, and was sent without the property user_id"
