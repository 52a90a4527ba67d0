"""Settings: one file, the environment over it, and nothing else."""

from kmworker.settings.reading import FILE_VARIABLE, SEARCHED, load_settings, working_folder
from kmworker.settings.sections import (
    BrokerSettings,
    JanitorSettings,
    KeyringSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    PolicySettings,
    RetentionSettings,
    Settings,
    StoreSettings,
    WaitingSettings,
    WorkerSettings,
    archive_beside,
    plain_text,
    setting_names,
)

__all__ = [
    "FILE_VARIABLE",
    "SEARCHED",
    "BrokerSettings",
    "JanitorSettings",
    "KeyringSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "PolicySettings",
    "RetentionSettings",
    "Settings",
    "StoreSettings",
    "WaitingSettings",
    "WorkerSettings",
    "archive_beside",
    "load_settings",
    "plain_text",
    "setting_names",
    "working_folder",
]
