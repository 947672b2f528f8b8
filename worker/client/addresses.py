"""Where the running instance is: what the settings say, else what `feltsense up` wrote into its state
file."""

from __future__ import annotations

import json

from worker.errors import ServiceMissing
from worker.settings import Settings

STATE = "feltsense.json"


def broker_url(settings: Settings) -> str:
    """The broker's URL; it may hold a password. Raises `ServiceMissing` when nothing names one."""
    return settings.broker_url or _told(settings, "broker_url", "FELTSENSE_BROKER_URL")


def database_url(settings: Settings) -> str:
    """The database's URL; it may hold a password. Raises `ServiceMissing` when nothing names one."""
    return settings.database_url or _told(settings, "database_url", "FELTSENSE_DATABASE_URL")


def told(settings: Settings) -> dict[str, str]:
    """What the running instance's state file names; nothing where none runs."""
    try:
        found = json.loads((settings.run_dir / STATE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: url for name, url in found.items() if isinstance(url, str)}


def _told(settings: Settings, name: str, variable: str) -> str:
    path = settings.run_dir / STATE
    remedy = f"start `feltsense up`, or set {variable}"
    try:
        told = json.loads(path.read_bytes()).get(name)
    except FileNotFoundError:
        raise ServiceMissing(f"no instance runs on {settings.run_dir} ({path} is absent): {remedy}") from None
    except (OSError, ValueError, AttributeError) as error:
        raise ServiceMissing(f"{path} cannot be read ({type(error).__name__}): {remedy}") from None
    if not isinstance(told, str) or not told:
        raise ServiceMissing(f"{path} names no {name}: {remedy}")
    return told
