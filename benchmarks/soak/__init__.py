"""A whole life under load: labels arrive, a rebuild, its trial, promotion, hot swap, drift, rollback."""
