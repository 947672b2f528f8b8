"""A disk that can be full: a server's folder on a small tmpfs for the length of one round.

That needs the right to mount, root's as a rule: then writes fail with ENOSPC. Where it is missing the
substitute is RLIMIT_FSIZE on the server's processes: no file grows, and writes fail with EFBIG instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.chaos.family import descendants
from worker.embedded import home
from worker.embedded.process import alive, wait_for_predecessor
from worker.errors import ServiceMissing

SPARE_MB = 48
BALLAST = "ballast"


class Disk:
    """The disk of the server whose data are in `folder`. Move it only while the server is stopped.

    `server` is the program's name, `works_in` its working directory in there.
    """

    def __init__(self, folder: Path, *, server: str, works_in: str = "") -> None:
        self._wanted = folder
        self._server = server
        self._works_in = works_in

    @property
    def how(self) -> str:
        """What a full disk is here, in words."""
        if mountable():
            return "a full tmpfs under the server's data (ENOSPC)"
        return "RLIMIT_FSIZE 0 on the server (EFBIG), for want of the right to mount"

    def shrink(self) -> None:
        """Moves the data to a tmpfs with `SPARE_MB` of room; nothing where mounting is not allowed."""
        if not mountable():
            return
        folder, aside = self._places()
        used = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_symlink())
        aside.mkdir(mode=0o711)
        size = used // 2**20 + SPARE_MB
        _mount("-t", "tmpfs", "-o", f"size={size}m,mode=711", "tmpfs", aside)
        _copy(folder, aside)
        _mount("--bind", aside, folder)
        _unmount(aside)
        aside.rmdir()

    def fill(self, pid: int) -> None:
        """Leaves no byte to the server `pid`."""
        if not self.small:
            _limit((pid, *descendants(pid)), "0")
            return
        folder, _ = self._places()
        descriptor = os.open(folder / BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        block = b"\0" * 2**16
        try:
            while block:
                try:
                    while os.write(descriptor, block):
                        pass
                except OSError:  # full for blocks of this size
                    block = block[: len(block) // 2]
        finally:
            os.close(descriptor)

    def free(self, pid: int) -> None:
        """Gives the room back."""
        if self.small:
            (self._places()[0] / BALLAST).unlink(missing_ok=True)
            return
        _limit((pid, *descendants(pid)), "unlimited")

    def restore(self) -> None:
        """Moves the data back to where they were, also those a killed run left on the tmpfs.

        Raises `ServiceMissing` when that run's server does not end.
        """
        folder, aside = self._places()
        whole = folder.with_name(f"{folder.name}.whole")
        if self.small:
            wait_for_predecessor(self._server, folder / self._works_in)
            (folder / BALLAST).unlink(missing_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(mode=0o711)
            _copy(folder, aside)
            aside.rename(whole)  # from here on an interrupted run finds the data there
            _unmount(folder)
        if whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            whole.rename(folder)

    @property
    def small(self) -> bool:
        """Whether the data lie on the tmpfs."""
        return self._wanted.exists() and os.path.ismount(self._wanted.resolve())

    def _places(self) -> tuple[Path, Path]:
        folder = self._wanted.resolve()
        return folder, folder.with_name(f"{folder.name}.aside")


def mountable() -> bool:
    """Whether this process may mount: CAP_SYS_ADMIN, and no seccomp filter that says otherwise."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return bool(effective >> 21 & 1) and shutil.which("mount") is not None


def _limit(pids: Iterable[int], size: str) -> None:
    for pid in filter(alive, pids):
        try:
            owner = Path(f"/proc/{pid}").stat()
            # By the server's own account: root in a container may not do it to another's process.
            done = subprocess.run(
                ["prlimit", "--pid", str(pid), f"--fsize={size}:unlimited"],  # noqa: S607  as below
                user=owner.st_uid if owner.st_uid != os.geteuid() else None,
                group=owner.st_gid if owner.st_uid != os.geteuid() else None,
                capture_output=True,
                text=True,
            )
        except FileNotFoundError:  # it ended in between
            continue
        if done.returncode != 0 and alive(pid):
            raise ServiceMissing(f"the size of files cannot be limited: {done.stderr.strip()}")


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)  # noqa: S607  of the system's own path


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607  of the system's own path


def _copy(source: Path, target: Path) -> None:
    """With owners, modes and times: Postgres looks at them."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)  # noqa: S607  as above


def broker_disk(folder: Path) -> Disk:
    """That of the Valkey of an instance in `folder`."""
    return Disk(folder / "valkey", server="valkey-server")


def database_disk(folder: Path) -> Disk:
    """That of its Postgres."""
    return Disk(folder / "postgres", server="postgres", works_in=home.DATA)
