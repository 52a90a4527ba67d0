"""The test vectors of delegation, made by the code: python -m tests.kit.delegation_vectors.

All of it follows from fixed seeds, but for what HPKE seals, which is different each time: what is
in the files is kept as long as it opens. So a run without a change of a format changes no file.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from kmworker.clock import unix_s
from kmworker.delegation.answers import AnswerSigner, SignedAnswer, answer_parts
from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.enrolment import Enrolment, request_enrolment
from kmworker.delegation.identity import Identity, key_id_of, shown
from kmworker.delegation.requests import SignedRequest, sign_request
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.sealing import Upload, delivery_info, seal, upload_info
from kmworker.delegation.signing import SIGNATURE_HEADER, digest_of, signed_bytes
from kmworker.delegation.trust_list import TrustList, make_list
from kmworker.domain.keys import Encryption, KeyState
from kmworker.domain.model import Item, Kind
from kmworker.wire.answers.bodies import Delivered, Revoked, Signing, delivered_body
from kmworker.wire.answers.messages import DELIVERED as DELIVERED_TYPE
from kmworker.wire.answers.messages import Refusal, Revoking
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.requests.types import KeyRequested

FOLDER: Final = Path(__file__).parents[2] / "schemas" / "vectors"

AT: Final = "2026-11-23T16:00:00.000Z"
NOW_S: Final = unix_s(AT)
INSTALLATION: Final = "5a1e1f0c-0d55-4c0e-9a3b-5f6f5b2b7f11"
CLIENT: Final = "blk01"
SOURCE: Final = "/kmworker"
KEY_ID: Final = "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61"
REVOKED_ID: Final = "7d793037-a076-4ca6-8f0d-0a1b2c3d4e5f"
VOLUME: Final = Item("2f1d7c", Kind.VOLUME, "11111111-2222-4333-8444-555555555555")


def _drawn(name: str) -> bytes:
    """Return 32 bytes that are nobody's secret."""
    return sha256(f"kmworker test vectors: {name}".encode()).digest()


def _identity(name: str) -> Identity:
    return Identity(_drawn(f"{name}, sign"), _drawn(f"{name}, seal"), AT)


HOST: Final = _identity("host")
SERVER: Final = _identity("key server")
ROOT: Final = RootKey(_drawn("root"), AT)
KEY: Final = _drawn("key, first half") + _drawn("key, second half")
ENROLMENT: Final = Enrolment(INSTALLATION, CLIENT, HOST.public.fingerprint, ROOT.public, AT)
LIST: Final = make_list(
    ROOT, INSTALLATION, 7, [SERVER.public], not_before=AT, not_after="2027-02-23T16:00:00.000Z"
)
REQUEST: Final = sign_request(
    KeyRequested(
        project_id=VOLUME.project,
        item=VOLUME,
        purpose="attach",
        reply_to=DIRECT_REPLY,
        id="3b8f0a52-9f5d-4f0e-8f5c-6b1e8f3f7a10",
        time=AT,
    ),
    HOST,
    INSTALLATION,
    CLIENT,
)
HELD_REQUEST: Final = sign_request(
    KeyRequested(
        project_id=VOLUME.project,
        item=VOLUME,
        held=KEY_ID,
        reply_to=DIRECT_REPLY,
        id="52c6b6de-5a1d-4f0f-9b5e-0b8f6f0c2d11",
        time=AT,
    ),
    HOST,
    INSTALLATION,
    CLIENT,
)
DELIVERED: Final = Delivered(
    KEY_ID, Encryption("aes-xts-plain64", 512), KeyState.ACTIVE, "2026-11-24T16:00:00.000Z"
)
REVOKED: Final = Revoked(
    VOLUME.project, VOLUME, "9e107d9d-372b-4a82-8d55-0f5d2c1e7a01", KEY_ID, Revoking.DETACHED
)
REVOKED_KEY_ID: Final = Revoked(VOLUME.project, None, None, KEY_ID, Revoking.CLIENT_REVOKED)
UPLOAD: Final = Upload(
    "8c5d2d1e-1b4e-4d6f-9b7a-2c3d4e5f6a7b",
    CLIENT,
    VOLUME.project,
    "e3c1f6a2-58b1-4c73-9d0e-7a9b8c6d5e4f",
    "symmetric",
    len(KEY),
)


def signer(trust: TrustList = LIST) -> AnswerSigner:
    """Return the vectors' key server."""
    return AnswerSigner(SERVER, trust, SOURCE)


def vectors(kept: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each file's content by its name.

    Args:
        kept: what the files hold; of it is taken what is sealed, if it opens.
    """
    return {
        "identity.json": _identity_vector(HOST, "host"),
        "key-server.json": _identity_vector(SERVER, "key server"),
        "enrolment-request.json": _enrolment_request(),
        "enrolment.json": {
            "about": "What the client pins.",
            "document": json.dumps(ENROLMENT.document, separators=(",", ":")),
        },
        "trust-list.json": _trust_list(),
        "request.json": _request(REQUEST),
        "request-held.json": _request(HELD_REQUEST),
        "delivered.json": _delivered(kept.get("delivered.json", {})),
        "refused.json": _answer(
            "A refusal; other causes of it have the same bytes.",
            signer().refuse(REQUEST.asked, CLIENT, Refusal.NOT_GRANTED, at=AT),
        ),
        "revoked.json": _answer(
            "A revocation, which answers no request.",
            signer().revoke(REVOKED_ID, CLIENT, REVOKED, at=AT),
        ),
        "revoked-key-id.json": _answer(
            "A revocation of a key that was asked for by its key-id: it names no item.",
            signer().revoke(REVOKED_ID, CLIENT, REVOKED_KEY_ID, at=AT),
        ),
        "upload.json": _upload(kept.get("upload.json", {})),
    }


def read_vectors() -> dict[str, dict[str, Any]]:
    """Return what the files hold."""
    return {it.name: json.loads(it.read_text("utf-8")) for it in sorted(FOLDER.glob("*.json"))}


def _identity_vector(identity: Identity, name: str) -> dict[str, Any]:
    public = identity.public
    label = signed_bytes("kmworker/identity", public.sign.hex(), public.seal.hex())
    return {
        "about": f"The identity of the {name}: its file, and what follows from that.",
        "file": {
            "document": "kmworker/identity",
            "version": 1,
            "created_at": AT,
            "sign": as_text(_drawn(f"{name}, sign")),
            "seal": as_text(_drawn(f"{name}, seal")),
            "fingerprint": public.fingerprint,
        },
        "sign_public": as_text(public.sign),
        "seal_public": as_text(public.seal),
        "fingerprint_of": label.hex(),
        "shown": shown(public.fingerprint),
        "listed_ids": [key_id_of(public.sign), key_id_of(public.seal)],
    }


def _enrolment_request() -> dict[str, Any]:
    text = request_enrolment(HOST).decode()
    public = HOST.public
    parts = (AT, public.sign.hex(), public.seal.hex())
    return {
        "about": "What the host of identity.json asks with.",
        "document": text,
        "signed": signed_bytes("kmworker/enrolment-request", *parts).hex(),
    }


def _trust_list() -> dict[str, Any]:
    digest = digest_of(LIST.text.encode())
    return {
        "about": "A list with the keys of key-server.json.",
        "root_seed": as_text(_drawn("root")),
        "root": as_text(ROOT.public),
        **LIST.document,
        "signed": signed_bytes("kmworker/trust-list", INSTALLATION, digest).hex(),
    }


def _request(request: SignedRequest) -> dict[str, Any]:
    digest = digest_of(request.body)
    return {
        "about": "A request by the host of identity.json, as the client of enrolment.json.",
        "installation": INSTALLATION,
        "client": CLIENT,
        "body": request.body.decode(),
        "headers": {SIGNATURE_HEADER: request.signature},
        "digest": digest,
        "signed": signed_bytes("kmworker/request", INSTALLATION, CLIENT, digest).hex(),
    }


def _answer(about: str, answer: SignedAnswer, **more: object) -> dict[str, Any]:
    return {
        "about": about,
        "body": answer.body.decode(),
        "headers": dict(answer.headers),
        "signed": signed_bytes(*answer_parts(INSTALLATION, CLIENT, answer.body)).hex(),
        **more,
    }


def _delivered(kept: Mapping[str, Any]) -> dict[str, Any]:
    fingerprint = HOST.public.fingerprint
    info = delivery_info(
        REQUEST.asked, fingerprint, KEY_ID, DELIVERED.encryption, DELIVERED.not_after
    )
    before = json.loads(kept["body"])["data"]["sealed"] if kept else ""
    sealed = _sealed(before, HOST, KEY, info)
    signing = Signing(SOURCE, AT, key_id_of(SERVER.public.sign), LIST.document)
    body = delivered_body(REQUEST.asked, DELIVERED, sealed, signing)
    signature = SERVER.sign(*answer_parts(INSTALLATION, CLIENT, body))
    about = "The answer to request.json, and what is in it."
    answer = SignedAnswer(body, signature, DELIVERED_TYPE, "")
    return _answer(about, answer, info=info.hex(), key=KEY.hex())


def _upload(kept: Mapping[str, Any]) -> dict[str, Any]:
    info = upload_info(UPLOAD)
    return {
        "about": "An object that a client seals to the key server of key-server.json.",
        "request_id": UPLOAD.request_id,
        "client": UPLOAD.client,
        "project_id": UPLOAD.project,
        "secret_id": UPLOAD.secret_id,
        "object_type": UPLOAD.object_type,
        "size_bytes": UPLOAD.size_bytes,
        "info": info.hex(),
        "sealed": _sealed(str(kept.get("sealed", "")), SERVER, KEY, info),
        "content": KEY.hex(),
    }


def _sealed(before: str, recipient: Identity, content: bytes, info: bytes) -> str:
    raw = from_text(before)
    opened = None if not raw else recipient.open(raw, info)
    if opened is not None and bytes(opened.view) == content:
        return before
    return as_text(seal(content, recipient.public.seal, info))


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in vectors(read_vectors()).items():
        text = json.dumps(content, indent=2) + "\n"
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
