"""The schedule, fast-forwarded: real beats and a real worker, of which beats are killed."""

JOURNAL = "CREATE TABLE ran (name text, slot timestamptz, at timestamptz DEFAULT clock_timestamp())"
"""Beside `slots`, which must not be its own witness."""
