"""Fixtures every test may ask for."""

import os

import hypothesis
import pytest
import structlog

from tests.support.database import database_url, empty_database_url, other_store, postgres, store, template

__all__ = ["database_url", "empty_database_url", "other_store", "postgres", "store", "template"]


# A trainer that gives way does not get on while other tests fill the machine.
os.environ["FELTSENSE_TRAINER_GIVES_WAY"] = "false"

# How long an example takes says more of the machine's other work than of ours.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Keep pytest-alembic (0.13) from collecting this file: its collector breaks on pytest 9.2.

    Its tests run all the same: `tests/integration/test_migrations.py` imports them.
    """
    config.option.pytest_alembic_tests_path = "none"
    structlog.configure = _uncached


_configure = structlog.configure


def _uncached(**chosen: object) -> None:
    """A command that a test runs in this process configures logging; a logger cached then would pass
    `capture_logs` by in every later test."""
    _configure(**{**chosen, "cache_logger_on_first_use": False})
