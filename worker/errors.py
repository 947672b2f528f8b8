"""Every error the worker raises on purpose; the class decides whether the work is retried.

Messages never hold reflection text: they name ids, fields, files, addresses and remedies.
"""

from __future__ import annotations

from pathlib import Path

REJECTED = 3
"""Exit code of a command that left out some of its input and did the rest."""


class FeltsenseError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line returns."""

    exit_code = 2
    retryable = False


class Rejected(FeltsenseError):
    """One event (or message) breaks the contract; it goes to `dead_letters`, its neighbours go on.

    `reason` is a stable code from `worker.events.reflection.REASONS`; `field` names the offending field;
    `detail` never quotes text.
    """

    exit_code = REJECTED

    def __init__(self, reason: str, detail: str, *, field: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.field = field


class BundleRefused(FeltsenseError):
    """The bundle's digests, format or feature schema do not match; nothing of it is used."""

    def __init__(self, folder: Path | str, why: str) -> None:
        super().__init__(f"bundle {folder} refused: {why}")
        self.folder = str(folder)


class ExportsRefused(FeltsenseError):
    """The graphs of `feltsense export` are another bundle's, damaged, or failed their parity; none is
    used."""

    def __init__(self, folder: Path | str, why: str) -> None:
        super().__init__(f"exports {folder} refused: {why}")
        self.folder = str(folder)


class EncoderMissing(FeltsenseError):
    """The encoder's package or files are not installed, or their digest is not the one the bundle names."""


class DeviceFailed(FeltsenseError):
    """No device of the plan could compile or run a model."""

    exit_code = 4
    retryable = True


class DeviceUnfit(DeviceFailed):
    """The device can never run this here (absent, no library, too little memory): asking again is
    useless."""


class ServiceMissing(FeltsenseError):
    """Broker or database cannot be reached or started; the message names the address and the remedy."""

    exit_code = 4
    retryable = True


class BundlesAway(ServiceMissing):
    """The bundle store cannot be reached; what was fetched from it before still serves."""


class QueueFull(ServiceMissing):
    """A lane holds as many messages as it may, or the broker as many bytes; nothing more was put on it.
    Sending again later is right."""


class UsageError(FeltsenseError):
    """The call itself is wrong (bad option, unreadable file)."""
