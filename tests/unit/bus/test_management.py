"""The management API as it answers when it cannot."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from kmworker.bus.management import Management
from kmworker.errors import KMWorkerError, NotCounted, SetupError

QUEUE = "kmworker.dead"


class Api(HTTPServer):
    """Answers everything in one way."""

    status = 200
    document: Any = None

    @property
    def management(self) -> Management:
        url = f"http://doctor:secret@127.0.0.1:{self.server_port}"
        return Management(url, "/", timeout_s=5.0)


class Answer(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.document).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_it_knows_is_what_applies(api: Api) -> None:
    api.document = {"effective_policy_definition": {"overflow": "reject-publish"}, "arguments": {}}
    found = api.management.governed(QUEUE)
    assert found is not None
    assert found.effective == {"overflow": "reject-publish"}


@pytest.mark.parametrize(
    ("status", "document", "kind", "said"),
    [
        (500, {"error": "internal_server_error"}, NotCounted, "fails (500)"),
        (503, {"error": "service_unavailable"}, NotCounted, "fails (503)"),
        (200, {"name": QUEUE}, NotCounted, f"does not know the policy of {QUEUE}"),
        (401, {"error": "not_authorised"}, SetupError, "this user may not look (401)"),
        (200, ["no table"], SetupError, "no management API answers there (200)"),
    ],
)
def test_what_it_cannot_say_is_told_from_what_is_set_up_wrong(
    api: Api, status: int, document: Any, kind: type[KMWorkerError], said: str
) -> None:
    api.status, api.document = status, document
    with pytest.raises(kind) as raised:
        api.management.governed(QUEUE)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_queue_that_it_does_not_know_is_none(api: Api) -> None:
    api.status = 404
    assert api.management.governed(QUEUE) is None
