"""Fixed keyrings, a scope and one sealed record of each kind."""

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.kek import Kek
from kmworker.domain.model import Encryption, Place, ScopeRecord

FIRST_KEY = bytes(range(32))
SECOND_KEY = bytes(range(32, 64))
CREATED_AT = "2026-11-23T16:00:00Z"


def keyring_of(*keys: bytes) -> Keyring:
    """A keyring of these KEKs, the first of them active."""
    keks = [Kek(key, CREATED_AT) for key in keys]
    return Keyring(keks[0].kek_id, {kek.kek_id: kek for kek in keks})


INSTALLATION = "7b1c2d3e-0000-4000-8000-000000000000"
FIRST = KeyringCustody(keyring_of(FIRST_KEY), INSTALLATION)
SECOND = KeyringCustody(keyring_of(SECOND_KEY), INSTALLATION)
BOTH = KeyringCustody(keyring_of(SECOND_KEY, FIRST_KEY), INSTALLATION)

SCOPE = ScopeRecord(
    scope_id="scope-1",
    root="volume:v1",
    dek_id="dek-1",
    encryption=Encryption("aes-xts-plain64", 512),
    kek_id=FIRST.kek_id,
    derived_from=None,
    created_at=CREATED_AT,
)

RECORDS = {
    Place("p1", "items", "volume:v1"): b'{"data":{"item":{"kind":"volume"}},"state":"active"',
    Place("p1", "keys", "key-1"): b'{"scope_id":"scope-1","state":"active"',
    Place("p1", "scopes", "scope-1"): b'{"root":"volume:v1","dek_id":"dek-1"',
    Place("p1", "parked", "9f2c"): b'{"body":"{\\"id\\":\\"e\xc3\xa9\\"}","attempts":0',
}
