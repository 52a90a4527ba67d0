"""Workers whose keyring is under OpenBao: at their start, and when it goes away later."""

import shutil
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from kmworker.crypto import Keyring, keyring_file
from kmworker.crypto.roots import Root, open_root
from kmworker.settings import KeyringSettings, load_settings
from tests.integration.running import running
from tests.kit.outside.worker import Site, Worker, started
from tests.kit.polling import until
from tests.kit.servers.openbao import OpenBao


def root_of(openbao: OpenBao) -> Root:
    root = open_root(openbao.url_of())
    assert root is not None
    return root


def said(logs: Sequence[MutableMapping[str, Any]], event: str) -> list[MutableMapping[str, Any]]:
    return [it for it in logs if it["event"] == event]


def troubles(site: Site) -> list[str]:
    """What each worker says of its keyring file."""
    return [it["keyring_trouble"] for it in site.reader.workers().values()]


def test_a_root_that_is_away_at_the_start_is_exit_code_3_with_the_reason(
    site: Site, openbao: OpenBao
) -> None:
    site.settings["KMWORKER_KEYRING__ROOT"] = openbao.url_of()
    site.keyring.unlink(missing_ok=True)
    Keyring.generate(site.keyring, root_of(openbao))
    openbao.seal()
    worker = Worker(site)
    assert worker.ended() == 3
    assert "it is sealed" in worker.log.read_text()
    openbao.unseal()
    started(site).stop()


def test_a_root_that_goes_away_later_stops_no_worker_and_is_asked_again(
    site: Site, openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_file, "AGAIN_S", 1.0)
    path, root = site.folder / "rooted.json", root_of(openbao)
    made = Keyring.generate(path, root)
    settings = load_settings(environ=site.environment()).model_copy(
        update={"keyring": KeyringSettings(path=path, root=openbao.url_of())}
    )
    with capture_logs() as logs, running(settings):
        until(lambda: said(logs, "broker connected"), "it works")
        grown = path.with_name("grown.json")
        shutil.copy2(path, grown)
        (new,) = Keyring.grow(grown, root).keks.keys() - made.keks.keys()
        openbao.kill()
        grown.replace(path)
        (alert,) = until(lambda: said(logs, "keyring file not taken up"), "the root is away")
        assert "cannot be reached" in alert["detail"]
        until(lambda: troubles(site) == ["root-away"], "operators see it")
        shown = site.run("status").stdout
        assert "its root of trust does not answer" in shown
        # What the root said is for its own host's log.
        assert "cannot be reached" not in shown
        openbao.start()
        (taken,) = until(lambda: said(logs, "KEK not known to the store"), "it is asked again")
        assert taken["kek_id"] == new
        until(lambda: troubles(site) == [""], "and that it is over")
