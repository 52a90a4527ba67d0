"""Which projects there are: by the list of them, and by the names of their keys."""

import re

from redis.exceptions import NoPermissionError

from kmworker.store.connection import store_errors
from kmworker.store.reading import TYPES, StoreReader, text

__all__ = ["listed_projects", "projects_with_keys"]

PAGE_SIZE = 1000


def listed_projects(reader: StoreReader) -> set[str]:
    """Return the names in the list of projects."""
    with store_errors():
        found = reader.client.sscan_iter(reader.names.top("projects"), count=PAGE_SIZE)
        return {text(name) for name in found}


def projects_with_keys(reader: StoreReader) -> set[str] | None:
    """Return the projects that have keys; None if this user may not list keys."""
    prefix = re.escape(reader.names.prefix)
    keys = "|".join(re.escape(key) for key in TYPES)
    of_a_project = re.compile(rf"{prefix}(?:secret)?:\{{(.+)\}}:(?:{keys})")
    projects: set[str] = set()
    with store_errors():
        try:
            for name in reader.client.scan_iter(f"{reader.names.prefix}*:{{*}}:*", count=PAGE_SIZE):
                match = of_a_project.fullmatch(text(name))
                if match is not None:
                    projects.add(match[1])
        except NoPermissionError:
            return None
    return projects
