"""What the server's process need not hold: decoders and their libraries live in the workers."""

import subprocess
import sys

import pytest

HEAVY = ("numpy", "pydicom", "PIL", "imagecodecs", "pypinyin", "av", "aiortc")


def test_the_server_starts_without_the_libraries_of_its_workers():
    code = f"import sys, server.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Threads that allocate side by side; glibc then says on standard error how many arenas there are.
THREADS = """
import ctypes, sys, threading
from server.serving import tune_process
libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_stats"):
    sys.exit(77)
tune_process()
together = threading.Barrier(8)
def work():
    together.wait()
    blocks = [libc.malloc(100_000) for _ in range(20)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""


def test_threads_share_the_memory_they_give_back():
    run = subprocess.run([sys.executable, "-c", THREADS], check=False, capture_output=True, text=True)
    if run.returncode == 77:
        pytest.skip("another C library than glibc")
    assert run.returncode == 0, run.stderr
    assert 1 <= run.stderr.count("Arena ") <= 2
