"""Get a volume's key: python get_key.py PROJECT VOLUME."""

import os
import sys
from hashlib import sha256
from pathlib import Path

from kmworker.client import Item, KeyRefused, Keys, Kind, NoAnswer

project, volume = sys.argv[1:]
folder = Path(os.environ.get("HOST_FOLDER", "/etc/kmworker"))
keys = Keys(
    os.environ["BROKER_URL"],
    identity=folder / "identity.json",
    enrolment=folder / "enrolment.json",
    namespace=os.environ.get("NAMESPACE", "kmworker"),
)
with keys:
    try:
        with keys.get(Item(project, Kind.VOLUME, volume), purpose="attach") as delivered:
            # A view of the buffer that is wiped at the end of the block: give it on, copy nothing.
            digest = sha256(delivered.key.view)
            print(delivered.key_id, delivered.encryption.cipher, digest.hexdigest())
    except KeyRefused as refused:
        sys.exit(f"refused: {refused.reason.value}: {refused.hint}")
    except NoAnswer as late:
        sys.exit(f"{late}: ask again")
