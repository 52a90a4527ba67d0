"""Check and open what key servers answer: python open_delivered.py schemas/vectors.

Nothing of kmworker is in it: X-Wing and HPKE by hand, as docs/delegation-protocol.md has them.
"""

import base64
import hashlib
import hmac
import json
import struct
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUITE_ID = b"HPKE" + struct.pack(">HHH", 0x647A, 0x0001, 0x0002)


def prefixed(*parts: str) -> bytes:
    """Length-prefixed: before each part four bytes with its length, big-endian."""
    return b"".join(struct.pack(">I", len(raw)) + raw for raw in map(str.encode, parts))


def unbase64(text: str) -> bytes:
    """Base64, of which only one spelling is taken."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("base64 with another spelling")
    return raw


def sha256_of(text: str) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def verify(public: str, signature: str, *parts: str) -> None:
    """Ed25519; raises InvalidSignature."""
    Ed25519PublicKey.from_public_bytes(unbase64(public)).verify(
        unbase64(signature), prefixed(*parts)
    )


# --- X-Wing (draft-connolly-cfrg-xwing-kem) -----------------------------------------------


def xwing_decapsulate(seed: bytes, enc: bytes) -> bytes:
    """The shared secret in `enc`, by the private key of 32 bytes."""
    halves = hashlib.shake_256(seed).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(halves[:64])
    x25519 = X25519PrivateKey.from_private_bytes(halves[64:])
    ct_mlkem, ct_x25519 = enc[:1088], enc[1088:]
    ss_mlkem = mlkem.decapsulate(ct_mlkem)
    ss_x25519 = x25519.exchange(X25519PublicKey.from_public_bytes(ct_x25519))
    own_public = x25519.public_key().public_bytes_raw()
    label = b"\\.//^\\"
    return hashlib.sha3_256(ss_mlkem + ss_x25519 + ct_x25519 + own_public + label).digest()


# --- HPKE, base mode (RFC 9180) -----------------------------------------------------------


def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """LabeledExtract with HKDF-SHA256."""
    salt = salt or bytes(32)
    return hmac.digest(salt, b"HPKE-v1" + SUITE_ID + label + ikm, "sha256")


def expand(prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand with HKDF-SHA256, of one block at most."""
    labelled = struct.pack(">H", length) + b"HPKE-v1" + SUITE_ID + label + info
    return hmac.digest(prk, labelled + b"\x01", "sha256")[:length]


def hpke_open(seed: bytes, sealed: bytes, info: bytes) -> bytes:
    """What is sealed; raises InvalidTag."""
    enc, ciphertext = sealed[:1120], sealed[1120:]
    shared = xwing_decapsulate(seed, enc)
    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    key = expand(secret, b"key", context, 32)
    nonce = expand(secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")


# --- the client's side --------------------------------------------------------------------


def fingerprint(sign_public: str, seal_public: str) -> str:
    """An identity's name: the SHA-256 of both public keys."""
    keys = unbase64(sign_public).hex(), unbase64(seal_public).hex()
    return hashlib.sha256(prefixed("kmworker/identity", "1", *keys)).hexdigest()


def believed(body: str, signature: str, enrolment: dict[str, Any], now: str) -> dict[str, Any]:
    """The answer, once the root key vouches for the list, and a listed key for the answer.

    A real client also keeps the list with the highest number, and goes by that.
    """
    answer: dict[str, Any] = json.loads(body)
    trust = answer["data"]["trust"]
    installation, client = enrolment["installation"], enrolment["client"]
    digest = sha256_of(trust["text"])
    verify(enrolment["root"], trust["signature"], "kmworker/trust-list", "1", installation, digest)
    trust_list = json.loads(trust["text"])
    if trust_list["installation"] != installation:
        raise ValueError("another installation's list")
    begins, ends = (datetime.fromisoformat(trust_list[it]) for it in ("not_before", "not_after"))
    if not begins <= datetime.fromisoformat(now) < ends:
        raise ValueError("a list that does not hold now")
    [public] = [it for it in trust_list["sign"] if it["id"] == answer["data"]["signed_by"]]
    verify(
        public["public"], signature, "kmworker/answer", "1", installation, client, sha256_of(body)
    )
    return answer


def opened(
    answer: dict[str, Any], request_body: str, identity: dict[str, Any], own_fingerprint: str
) -> bytes:
    """The key that was asked for."""
    data, asked = answer["data"], json.loads(request_body)["data"]
    if answer["type"] != "key-delivered" or data["request"] != sha256_of(request_body):
        raise ValueError("not the answer to this request")
    item = asked.get("item")
    if data["project_id"] != asked["project_id"] or data["item"] != item:
        raise ValueError("another item's key")
    if asked.get("key_id", data["key_id"]) != data["key_id"]:
        raise ValueError("another key-id's key")
    info = prefixed(
        "kmworker/delivered",
        "1",
        data["request"],
        own_fingerprint,
        data["project_id"],
        f"{item['kind']}:{item['id']}" if item else "",
        data["key_id"],
        data["encryption"]["cipher"],
        str(data["encryption"]["key_bits"]),
        data["not_after"],
    )
    key = hpke_open(unbase64(identity["seal"]), unbase64(data["sealed"]), info)
    if 8 * len(key) != data["encryption"]["key_bits"]:
        raise ValueError("a key of another length")
    return key


def opened_upload(upload: dict[str, Any], key_server: dict[str, Any]) -> bytes:
    """What a client has sealed to a key server."""
    fields = "request_id", "client", "project_id", "secret_id", "object_type", "size_bytes"
    info = prefixed("kmworker/upload", "1", *(str(upload[it]) for it in fields))
    return hpke_open(unbase64(key_server["seal"]), unbase64(upload["sealed"]), info)


def main(folder: Path) -> None:
    """Go through the vectors."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
        return found

    enrolment = json.loads(read("enrolment")["document"])
    host, request = read("identity"), read("request")
    own_fingerprint = fingerprint(host["sign_public"], host["seal_public"])
    asking = json.loads(read("enrolment-request")["document"])
    keys = (unbase64(asking[it]).hex() for it in ("sign", "seal"))
    label = "kmworker/enrolment-request"
    verify(asking["sign"], asking["signature"], label, "1", asking["created_at"], *keys)
    print("enrolment request of", own_fingerprint)

    for asked in request, read("request-held"):
        parts = "1", enrolment["installation"], enrolment["client"], sha256_of(asked["body"])
        signature = asked["headers"]["x-kmworker-signature"]
        verify(host["sign_public"], signature, "kmworker/request", *parts)
        said = json.loads(asked["body"])
        print("request", said["id"], said["data"].get("held", ""))

    for name in ("delivered", "refused", "revoked", "revoked-key-id"):
        found = read(name)
        signature = found["headers"]["x-kmworker-signature"]
        answer = believed(found["body"], signature, enrolment, "2026-11-23T16:00:01Z")
        if name == "delivered":
            key = opened(answer, request["body"], host["file"], own_fingerprint)
            assert key.hex() == found["key"]  # noqa: S101
            print(answer["type"], answer["data"]["key_id"], len(key), "bytes")
        else:
            print(answer["type"], answer["data"].get("reason", answer["data"].get("cause")))
    upload = read("upload")
    content = opened_upload(upload, read("key-server")["file"])
    assert content.hex() == upload["content"]  # noqa: S101
    print("upload", upload["secret_id"], len(content), "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
