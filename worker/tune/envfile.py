"""Where the found settings go: into an environment file, beside whatever else stands in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from worker.errors import UsageError
from worker.events.lines import write_whole

PREFIX = "FELTSENSE_"
OWNER_ONLY = 0o600
"""Mode of a new file: keys and URLs with passwords belong into it too."""

_PLAIN = re.compile(
    r"""(?P<head>\s*(?:export\s+)?)(?P<name>[^\s=]+)(?P<equals>\s*=[^\S\r\n]*)
        (?:'[^']*'|"[^"]*"|.*?)(?P<tail>(?:\s+\#[^\r\n]*)?\s*)""",
    re.DOTALL | re.VERBOSE,
)


def rewritten(text: str, values: Mapping[str, str]) -> str:
    """`text` with `values` (by variable) in place; the rest of it is unchanged.

    A variable that stands there several times gets its value everywhere, one that does not is added at the
    end. Names are compared as the settings compare them: without regard to case.
    """
    missing = dict(values)
    parts: list[str] = []
    # The parser of those who read the file: a quoted value may span lines that look like settings.
    for binding in parse_stream(StringIO(text)):
        original, name = binding.original.string, (binding.key or "").upper()
        found = _PLAIN.fullmatch(original) if name in values and not binding.error else None
        if found is not None:
            missing.pop(name, None)
            original = f"{found['head']}{found['name']}{found['equals'] or '='}{values[name]}{found['tail']}"
        parts.append(original)
    whole = "".join(parts)
    ending = "\r\n" if "\r\n" in whole else "\n"
    if missing and whole and not whole.endswith(("\n", "\r")):
        whole += ending
    return whole + "".join(f"{name}={value}{ending}" for name, value in missing.items())


def check(path: Path) -> None:
    """Raise `UsageError` where `write` would fail: before the measuring, not after it."""
    target = path.resolve()
    _read(target)
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: its folder is not writable")


def write(path: Path, values: Mapping[str, str]) -> bool:
    """Put `values` into the file at `path`, always whole, with the mode and owner it had; whether
    it changed. Raises `UsageError`."""
    target = path.resolve()  # a link stays a link
    before = _read(target)
    after = rewritten(before or "", values)
    if after == before:
        return False
    try:
        had = target.stat() if target.exists() else None
        mode = OWNER_ONLY if had is None else had.st_mode & 0o777
        write_whole(target, [after.encode()], mode=mode)
        if had is not None:
            target.chmod(mode)  # written with what the umask leaves of it
            if (had.st_uid, had.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(target, had.st_uid, had.st_gid)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return True


def _read(path: Path) -> str | None:
    """The file as it is, line ends included; None when there is none."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read {path}: {why}") from None
