"""The contract for programs: JSON Schemas of the messages, and an AsyncAPI document.

Everything is made from what the worker itself runs on (the wire models, the broker's
names, the reasons of dead letters), so the published files cannot say something else.
"""

from kmworker.wire.schemas.asyncapi import asyncapi
from kmworker.wire.schemas.files import texts, write_schemas
from kmworker.wire.schemas.messages import json_schemas

__all__ = ["asyncapi", "json_schemas", "texts", "write_schemas"]
