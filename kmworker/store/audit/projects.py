"""Which projects there are: by the list of them, and by the names of their keys."""

import re

from redis.exceptions import NoPermissionError

from kmworker.audit.opened import Sound
from kmworker.store.audit.opening import Opening
from kmworker.store.audit.reading import TYPES, AuditReader, text
from kmworker.store.connection import store_errors

__all__ = ["has_sound_record", "listed_projects", "projects_with_keys"]

PORTION = 1000


def listed_projects(reader: AuditReader) -> set[str]:
    """Return the names in the list of projects."""
    with store_errors():
        found = reader.client.sscan_iter(reader.names.top("projects"), count=PORTION)
        return {text(name) for name in found}


def projects_with_keys(reader: AuditReader) -> set[str] | None:
    """Return the projects that have keys; None if this user may not list keys."""
    prefix = re.escape(reader.names.prefix)
    keys = "|".join(re.escape(key) for key in TYPES)
    of_a_project = re.compile(rf"{prefix}(?:secret)?:\{{(.+)\}}:(?:{keys})")
    projects: set[str] = set()
    try:
        for name in reader.client.scan_iter(f"{reader.names.prefix}*:{{*}}:*", count=PORTION):
            match = of_a_project.fullmatch(text(name))
            if match is not None:
                projects.add(match[1])
    except NoPermissionError:
        return None
    return projects


def has_sound_record(reader: AuditReader, opening: Opening, project: str) -> bool:
    """Say whether a worker has recorded or parked anything in a project, by a look at some."""
    openings = {"items": opening.item, "parked": opening.parked}
    for key, open_one in openings.items():
        _cursor, portion = reader.scan(project, key, 0)
        if any(isinstance(open_one(project, text(name), raw), Sound) for name, raw in portion):
            return True
    return False
