"""minimal"""
import signal
import sys
import os
from pathlib import Path
from kmworker.settings import load_settings
from kmworker.logs import configure_logs
from kmworker.bootstrap import build_worker
from kmworker.crypto import Keyring

def main() -> None:
    settings = load_settings(None, os.environ)
    configure_logs(settings.log.level, settings.log.format)
    if sys.argv[1:3] == ["keyring", "init"]:
        Keyring.generate(settings.keyring.path)
        return
    worker = build_worker(settings)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()
