"""A record as it was found: sound, flawed or absent."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kmworker.domain.model import Place
from kmworker.verify.rules.findings import Finding, Problem

__all__ = ["Flawed", "Opened", "Sound", "contradiction", "flaw_at", "missing"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sound(Generic[T]):
    """A record whose seal fits its place."""

    value: T
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Flawed:
    """A record that nothing may rest on."""

    problem: Problem
    says: str


Opened = Sound[T] | Flawed | None
"""None: there is no record."""


def flaw_at(place: Place, flaw: Flawed) -> Finding:
    """Return what is to be said of a flawed record at this place."""
    return Finding(flaw.problem, place, flaw.says)


def missing(problem: Problem, shown_by: Place, key: str, field: str | None) -> Finding:
    """Return what is to be said of a record that another one names."""
    says = f"{shown_by.field} in {shown_by.key} names it"
    return Finding(problem, Place(shown_by.project, key, str(field)), says)


def contradiction(place: Place, says: str) -> Finding:
    """Return what is to be said of a record that others do not fit."""
    return Finding(Problem.CONTRADICTION, place, says)
