"""``kmworker worker`` as a supervisor sees it."""

import signal
import socket
from contextlib import closing
from dataclasses import replace

from tests.integration.cli.running import started
from tests.kit.outside.worker import Site
from tests.kit.polling import until
from tests.kit.servers import At


def test_ctrl_c_ends_a_worker_in_good_order_as_sigterm_does(site: Site) -> None:
    with started(site, "worker") as worker:
        worker.until_err("broker connected")
        worker.interrupt()
        assert worker.ended() == 0
        assert worker.out.read_text() == ""


def test_a_second_signal_ends_it_at_once(site: Site) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        # A broker that takes the connection and says nothing holds a worker up.
        port = silent.getsockname()[1]
        slow = {"KMWORKER_BROKER__CONNECT_TIMEOUT_S": "120"}
        waiting = replace(site, broker=At(f"amqp://127.0.0.1:{port}/"), settings=slow)
        with started(waiting, "worker") as worker:
            worker.until_err("store admitted")
            connection, _ = silent.accept()
            with closing(connection):
                until(
                    lambda: worker.process.poll() is not None,
                    "it has ended",
                    # Again and again: two at once would be one.
                    between=worker.process.terminate,
                )
            assert worker.process.returncode == 128 + signal.SIGTERM
