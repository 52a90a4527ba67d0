"""What is made of the classes of requests: how they are found, and how their data are read."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from kmworker.wire.events.parts import Strict, reads_fields
from kmworker.wire.fields import ClientName, Moment, Uuid
from kmworker.wire.requests import types
from kmworker.wire.requests.request import ClientRequest

__all__ = ["REQUESTS", "REQUEST_TYPES", "RequestEnvelope", "request_data_of"]

REQUESTS: Final[Mapping[str, type[ClientRequest]]] = {
    it.type: it for it in (vars(types)[name] for name in types.__all__)
}
"""The class of each type of request."""
REQUEST_TYPES: Final = tuple(REQUESTS)


class RequestEnvelope(Strict):
    """The CloudEvents 1.0 attributes that every request has."""

    # Extension attributes are anybody's (CloudEvents 1.0, section "Extension Context Attributes").
    model_config = ConfigDict(extra="ignore")

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """Names the request among its client's: drawn at random, kept when it is sent again."""
    source: ClientName
    """The client's name, which is its user of the broker."""
    type: Annotated[str, Field(min_length=1)]
    """What is asked; the message's routing key is the same."""
    time: Moment
    """When it was made, in RFC 3339, UTC: 300 s from the key server's time at most."""


@cache
def request_data_of(request: type[ClientRequest]) -> TypeAdapter[dict[str, Any]]:
    """Return what reads the data of a request: the fields that it has, as their values."""
    return reads_fields(request.__name__, request.data_fields())
