"""Values: what passes from step to step and never changes.

A frozen dataclass sets each field through ``object.__setattr__``, which takes six times as
long as a plain one. An event becomes some fifteen values on its way, and that was a seventh of
its cost. So that they never change is left to the type checker, which knows these as frozen.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

__all__ = ["value"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a class a dataclass with slots, equal and hashed by its fields, not to be changed."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
