"""pynetdicom's own test files, which only its source distribution has: fetched for the tests alone.

`python -m tests.tools` brings it with pip into .cache/; the digests are those of requirements-test.lock. Without a
network the tests that need it are skipped on a laptop and fail in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-test.lock"
PACKAGE = "pynetdicom"
FOLDER = ROOT / ".cache" / f"{PACKAGE}-{version(PACKAGE)}"
WANTED = re.compile(r"[^/]+/pynetdicom/tests/dicom_files/[^/]+\.dcm")
# pip asks a source distribution for its name before it hands it over, and would run the package's own builder for that.
BUILDER = f"""
import os
def prepare_metadata_for_build_wheel(folder, settings=None):
    name = "{PACKAGE}-{version(PACKAGE)}.dist-info"
    os.mkdir(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: {PACKAGE}\\nVersion: {version(PACKAGE)}\\n")
    return name
"""


def locked() -> str:
    """The lines of the lock file that pin it."""
    found = re.search(rf"(?m)^{PACKAGE}=={re.escape(version(PACKAGE))} \\\n(?:    --hash=\S+(?: \\)?\n)+", LOCK.read_text("utf-8"))
    if found is None:
        raise ValueError(f"{LOCK.name} does not pin {PACKAGE} {version(PACKAGE)}")
    return found[0]


def install() -> None:
    """The test files in FOLDER; nothing of the package is run. OSError or ValueError with pip's last words without it."""
    if FOLDER.is_dir():
        return
    FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as name:
        place = Path(name)
        (place / "requirements").write_text(locked(), "utf-8")
        (place / "flit_core").mkdir()
        (place / "flit_core" / "buildapi.py").write_text(BUILDER, "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes",
             "--no-binary", PACKAGE, "--no-build-isolation", "-r", "requirements"],
            cwd=place, env=os.environ | {"PYTHONPATH": name}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        packed = next(place.glob("*.tar.gz"), None)
        if done.returncode != 0 or packed is None:
            raise OSError((done.stderr.strip().splitlines() or ["pip brought nothing"])[-1])
        with tarfile.open(packed) as tar:
            tar.extractall(place / "out", members=[one for one in tar.getmembers() if WANTED.fullmatch(one.name)], filter="data")
        (found,) = (place / "out").glob("*/pynetdicom/tests/dicom_files")
        shutil.move(found, FOLDER)
