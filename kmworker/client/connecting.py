"""What producers and subscribers have in common: where the broker is, and when to try again."""

import random
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from kmworker.errors import BrokerUnavailable, SetupError
from kmworker.settings import STREAM_SCHEMES, BrokerSettings

__all__ = ["NOT_FOUND", "Backoff", "broker_settings", "check_refusal", "reply_code"]

NOT_FOUND: Final = 404
# Forbidden, something else under that name, no such virtual host: waiting changes none of these.
REFUSALS: Final = (403, 406, 530)
# Full jitter between nothing and this, so that clients do not come back in step.
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_DOUBLINGS: Final = 6


class Backoff:
    """How long to wait before the next try."""

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._failures = 0

    def next_s(self) -> float:
        """Count a failure and return the seconds to wait."""
        most_s = BACKOFF_FIRST_S * 2**self._failures
        self._failures = min(self._failures + 1, BACKOFF_DOUBLINGS)
        return self._draw(0, most_s)

    def reset(self) -> None:
        """It works again."""
        self._failures = 0


def broker_settings(url: str, namespace: str) -> BrokerSettings:
    """Check an address.

    Raises:
        SetupError: it is none; the message does not repeat it.
    """
    try:
        settings = BrokerSettings(url=url, namespace=namespace)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        raise SetupError(f"{first['loc'][0]}: {first['msg']}") from None
    if url.startswith(tuple(f"{scheme}:" for scheme in STREAM_SCHEMES)):
        # An embedded installation's queue is inside its store, which is none of our business.
        raise SetupError(
            "url: kmworker.client speaks AMQP alone", "name a RabbitMQ, as amqp:// or amqps://"
        )
    return settings


def reply_code(error: BrokerUnavailable) -> int:
    """Return the broker's own word for what was wrong; 0 if it said nothing."""
    code = getattr(error.__cause__, "code", None)
    return code if isinstance(code, int) else 0


def check_refusal(error: BrokerUnavailable) -> None:
    """Tell what a person must change from what passes.

    Raises:
        SetupError: the broker is there and refuses us.
    """
    if reply_code(error) in REFUSALS:
        raise SetupError(str(error)) from error
