"""The machine under a benchmark: what it is, and what its processes use of it."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("openvino", "numpy", "celery", "kombu", "psycopg", "lightgbm", "tokenizers")
_TICKS = os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """What a time depends on; say it before anything is measured, for the load's sake."""
    described = Path("/proc/cpuinfo").read_text()
    flags = re.search(r"^flags\s*:(.*)$", described, re.MULTILINE)
    model = re.search(r"^model name\s*:(.*)$", described, re.MULTILINE)
    known = flags[1].split() if flags else []
    return {
        "cores": len(os.sched_getaffinity(0)),
        "model": model[1].strip() if model else None,
        "flags": [one for one in known if re.match("avx2$|avx512f|avx_vnni|avx512_vnni|.*bf16|amx", one)],
        "ram_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "os": _system(),
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "niceness": os.nice(0),
        "load before": [round(one, 2) for one in os.getloadavg()],
    }


def cpu_s(pid: int) -> float:
    """CPU seconds so far of a process and of its children, ended ones included."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended while we looked
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            used[int(entry.name)] = sum(map(int, fields[11:15])) / _TICKS

    def tree(root: int) -> float:
        return used.get(root, 0.0) + sum(tree(child) for child in parents.get(root, []))

    return tree(pid)


def rss_mb(pid: int) -> float:
    """Resident memory of one process now, in MB (10^6 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:  # no os-release file
        name = platform.system()
    return f"{name}, Linux {platform.release()}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
