"""Processes end with the one that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FAMILY = """
import multiprocessing, os, time
from limbeck.processes import end_children_too, end_with_parent

def grandchild():
    print(os.getpid(), flush=True)
    time.sleep(60)

def child(parent):
    end_with_parent(parent)
    end_children_too()
    print(os.getpid(), flush=True)
    multiprocessing.get_context("fork").Process(target=grandchild).start()
    time.sleep(60)

multiprocessing.get_context("fork").Process(target=child, args=(os.getpid(),)).start()
time.sleep(60)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the operating system ends them on Linux alone")
def test_children_and_theirs_end_with_a_killed_process():
    parent = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True)
    family = [int(parent.stdout.readline()) for _ in range(2)]
    assert all(map(alive, family))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while any(map(alive, family)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, family))


def test_a_process_whose_parent_is_gone_ends_at_once():
    code = "import os; from limbeck.processes import end_with_parent; end_with_parent(os.getpid()); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert alive(os.getpid()) or sys.platform != "linux"
