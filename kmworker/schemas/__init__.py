"""The contract for programs: JSON Schemas of the messages, and an AsyncAPI document.

Everything is made from what the worker itself runs on (the wire models, the broker's
names, the reasons of dead letters), so the published files cannot say something else.
"""

from kmworker.schemas.asyncapi import asyncapi
from kmworker.schemas.files import texts, write_schemas
from kmworker.schemas.messages import json_schemas

__all__ = ["asyncapi", "json_schemas", "texts", "write_schemas"]
