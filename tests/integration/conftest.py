"""Fixtures of tests that need a broker, a bundle or a whole worker."""

from tests.support.service import bundle, instance, shared, valkey

__all__ = ["bundle", "instance", "shared", "valkey"]
