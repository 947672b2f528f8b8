"""A worker with a dead thread is no worker: it ends, and says where without quoting anything."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time
from worker.observability import logging
from worker.service.celery_app import thread_died

logging.configure("info")
threading.excepthook = thread_died

def work():
    raise eval(sys.argv[1])

thread = threading.Thread(target=work, name="stage-settle-live")
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    ("error", "status"), [("ValueError('what somebody wrote')", 1), ("SystemExit(3)", 0)]
)
def test_a_thread_that_dies_of_a_defect_ends_its_process_without_the_errors_words(error, status):
    ended = subprocess.run([sys.executable, "-c", PROGRAM, error], capture_output=True, text=True, timeout=60)

    assert ended.returncode == status
    assert "what somebody wrote" not in ended.stdout + ended.stderr
    assert ("thread_died" in ended.stderr) == bool(status)
    assert ("stage-settle-live" in ended.stderr) == bool(status)
