"""Fixtures every test may ask for."""

import os
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

from tests.support.alone import turn
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: begun last, one of them would run on while the other processes idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside the timeout: waiting for a turn is no part of a test
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


_configure = structlog.configure


def _uncached(**chosen: object) -> None:
    """A command that a test runs in this process configures logging; a logger cached then would pass
    `capture_logs` by in every later test."""
    _configure(**{**chosen, "cache_logger_on_first_use": False})
