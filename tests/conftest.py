"""Fixtures every test may ask for."""

from collections.abc import Iterator

import pytest
import structlog

from tests.support.database import database_url, empty_database_url, other_store, postgres, store, template

__all__ = ["database_url", "empty_database_url", "other_store", "postgres", "store", "template"]


def pytest_configure(config: pytest.Config) -> None:
    """Keep pytest-alembic (0.13) from collecting this file: its collector breaks on pytest 9.2.

    Its tests run all the same: `tests/integration/test_migrations.py` imports them.
    """
    config.option.pytest_alembic_tests_path = "none"


@pytest.fixture(autouse=True)
def _loggers_are_not_cached(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command run in this process configures logging; a logger cached then would pass `capture_logs` by in
    every later test."""
    configure = structlog.configure

    def uncached(**chosen: object) -> None:
        configure(**{**chosen, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", uncached)
    yield
    structlog.reset_defaults()
