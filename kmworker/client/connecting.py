"""What producers and subscribers have in common: where the broker is, and when to try again."""

import os
import random
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import ValidationError

from kmworker.errors import BrokerUnavailable, SetupError
from kmworker.settings import BrokerSettings
from kmworker.settings.instance import running_instance
from kmworker.settings.urls import STREAM_SCHEMES

__all__ = ["NOT_FOUND", "Backoff", "broker_settings", "check_refusal", "reply_code", "with_advice"]

NOT_FOUND: Final = 404
# Forbidden, something else under that name, no such virtual host: waiting changes none of these.
REFUSALS: Final = (403, 406, 530)
UP_ADVICE: Final = (
    "kmworker up runs here, but it has no AMQP: with it, programs use kmworker publish --file -"
    " and kmworker watch --json"
)
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


def broker_settings(url: str | Sequence[str], namespace: str) -> BrokerSettings:
    """Check an address, or several.

    Raises:
        SetupError: one is none; the message does not repeat it.
    """
    where = {"url": url} if isinstance(url, str) else {"urls": tuple(url)}
    try:
        settings = BrokerSettings.model_validate({**where, "namespace": namespace})
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        raise SetupError(f"{first['loc'][0]}: {first['msg']}") from None
    if settings.addresses[0].startswith(tuple(f"{scheme}:" for scheme in STREAM_SCHEMES)):
        # An embedded installation's queue is inside its store, which is none of our business.
        raise SetupError(
            "url: kmworker.client speaks AMQP alone", "name a RabbitMQ, as amqp:// or amqps://"
        )
    return settings


def reply_code(error: BrokerUnavailable) -> int:
    """Return the broker's own word for what was wrong; 0 if it said nothing."""
    code = getattr(error.__cause__, "code", None)
    return code if isinstance(code, int) else 0


def with_advice(error: BrokerUnavailable) -> BrokerUnavailable:
    """Return the error; where `kmworker up` runs, it may have been taken for a broker."""
    if not isinstance(error.__cause__, ConnectionRefusedError):
        return error
    if running_instance(os.environ) is None:
        return error
    advised = BrokerUnavailable(f"{error}; {UP_ADVICE}")
    advised.__cause__ = error.__cause__
    return advised


def check_refusal(error: BrokerUnavailable) -> None:
    """Tell what a person must change from what passes.

    Raises:
        SetupError: the broker is there and refuses us.
    """
    if reply_code(error) in REFUSALS:
        raise SetupError(str(error)) from error
