"""Ask a key server for a key: python ask_for_key.py IDENTITY ENROLMENT PROJECT KIND:ID > key.bin.

Nothing of kmworker is in it, but for what open_delivered.py has written out. pika speaks AMQP.
"""

import base64
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from open_delivered import believed, opened, prefixed, sha256_of, unbase64

DIRECT_REPLY = "amq.rabbitmq.reply-to"
SIGNATURE = "x-kmworker-signature"
DEADLINE_S = 30.0


def now() -> str:
    """RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def request_for(client: str, project: str, ref: str) -> str:
    """A request's body."""
    kind, _, identifier = ref.partition(":")
    data = {
        "project_id": project,
        "item": {"kind": kind, "id": identifier},
        "reply_to": DIRECT_REPLY,
    }
    head = {"specversion": "1.0", "id": str(uuid4()), "source": client, "type": "key-requested"}
    return json.dumps({**head, "time": now(), "data": data})


def signed(body: str, identity: dict[str, Any], enrolment: dict[str, Any]) -> pika.BasicProperties:
    """The properties that a request travels with."""
    parts = enrolment["installation"], enrolment["client"], sha256_of(body)
    key = Ed25519PrivateKey.from_private_bytes(unbase64(identity["sign"]))
    signature = base64.b64encode(key.sign(prefixed("kmworker/request", "1", *parts))).decode()
    return pika.BasicProperties(
        content_type="application/cloudevents+json",
        type="key-requested",
        message_id=json.loads(body)["id"],
        # The broker takes it from this user alone.
        user_id=enrolment["client"],
        reply_to=DIRECT_REPLY,
        expiration="30000",
        headers={SIGNATURE: signature},
    )


def answer_to(body: str, properties: pika.BasicProperties) -> tuple[str, str]:
    """What comes in answer, and its signature: anybody's, until it is checked."""
    url = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
    exchange = os.environ.get("NAMESPACE", "kmworker") + ".requests"
    came: list[tuple[Any, bytes]] = []
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        # Before it asks: that is how the broker knows where the answer goes.
        channel.basic_consume(
            DIRECT_REPLY, lambda _channel, _how, *it: came.append(it), auto_ack=True
        )
        channel.basic_publish(exchange, "key-requested", body.encode(), properties)
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            connection.process_data_events(time_limit=1)
            for found, content in came:
                if found.correlation_id == properties.message_id:
                    return content.decode(), found.headers[SIGNATURE]
    sys.exit("nobody has answered in time: ask again")


def main(identity_path: str, enrolment_path: str, project: str, ref: str) -> None:
    """Ask, and write the key."""
    identity = json.loads(Path(identity_path).read_text("utf-8"))
    enrolment = json.loads(Path(enrolment_path).read_text("utf-8"))
    body = request_for(enrolment["client"], project, ref)
    content, signature = answer_to(body, signed(body, identity, enrolment))
    answer = believed(content, signature, enrolment, now())
    data = answer["data"]
    if data["request"] != sha256_of(body):
        sys.exit("an answer to another request")
    if answer["type"] == "key-refused":
        sys.exit(f"refused: {data['reason']}")
    sys.stdout.buffer.write(opened(answer, body, identity, enrolment["fingerprint"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
