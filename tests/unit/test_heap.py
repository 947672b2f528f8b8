"""A worker's threads share few heaps."""

import platform
import re
import subprocess
import sys

import pytest

from worker.service.heap import HEAPS

PROGRAM = """
import ctypes, sys, threading
from worker.service import heap
if sys.argv[1] == "limited":
    assert heap.limit()
gate = threading.Barrier(12)
def work():
    held = [bytes(2000) for _ in range(200)]
    gate.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def heaps(how: str) -> int:
    told = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return len(re.findall("<heap nr=", told.stdout))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such heaps")
def test_twelve_threads_share_two_heaps_where_they_would_take_more():
    assert heaps("limited") <= HEAPS
    assert heaps("free") > HEAPS
