"""What a running worker answers when it is asked over the broker: which models it has open."""

from __future__ import annotations

from typing import Any

from celery.worker.control import inspect_command

from worker.events.message import MODELS


@inspect_command(name=MODELS)
def models(state: Any) -> dict[str, str | None]:
    """The version it serves, the one it tries beside, and why it has none."""
    service = getattr(state.app, "service", None)
    if service is None:
        return {}
    serving = service.stages.serving
    return {"serving": serving.version, "tried": serving.tried, "trouble": serving.trouble}
