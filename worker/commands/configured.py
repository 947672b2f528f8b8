"""The operator's settings as a command gets them: checked, and the process logging as they say; and the
database they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import UsageError

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.store.engine import Store


def settings() -> Settings:
    """The settings. Raises `UsageError` that names the first wrong one."""
    from pydantic import ValidationError

    from worker.observability import logging
    from worker.settings import Settings

    try:
        found = Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = "_".join(map(str, first["loc"])).upper()
        raise UsageError(f"setting FELTSENSE_{name}: {first['msg']}") from None
    # Somebody at a terminal wants the answer; the log is for services, unless it was asked for.
    logging.configure(found.log_level if "log_level" in found.model_fields_set else "warning")
    return found


def opened(chosen: Settings) -> Store:
    """The instance's database, whose sealed texts open with the keys of the settings. Raises `ServiceMissing`
    when nothing names it."""
    from worker.client.addresses import database_url
    from worker.store.engine import Store

    return Store.open(database_url(chosen), pool_size=1, text_keys=chosen.text_keys)
