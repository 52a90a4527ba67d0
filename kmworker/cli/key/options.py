"""What the commands on keys have in common: which key."""

from typing import Annotated

import typer

from kmworker.errors import NotFound
from kmworker.store.inspection import Views
from kmworker.store.views.lineage import is_item_ref, item_data

__all__ = ["KeyArgument", "ProjectOption", "key_id_of"]

KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="A key-id, or the ref of an item that holds one.")
]
ProjectOption = Annotated[str, typer.Option("--project", metavar="P", help="The key-id's project.")]


def key_id_of(views: Views, project: str, key: str) -> str:
    """Return the key-id that is meant.

    Raises:
        NotFound: there is no such item, or it has none.
    """
    if not is_item_ref(key):
        return key
    (record,) = views.records(project, "items", [key])
    if record is None:
        raise NotFound(f"no {key} in project {project}", "kmworker show finds an item's project")
    key_id = item_data(record).get("key_id")
    if not isinstance(key_id, str):
        raise NotFound(f"{key} has no key-id", "it is not encrypted, or was never announced")
    return key_id
