"""Programs some tests need. A laptop without one skips the test and says what to install; CI must have them all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"


def need_program(name: str, package: str) -> str:
    """The full path of a program of a Debian package; pytest.skip on a laptop, pytest.fail where CI is set."""
    path = name if Path(name).is_file() else shutil.which(name)
    if path is not None:
        return path
    reason = f"needs {name}: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def need_chromium() -> str:
    """The browser of Debian; snap and bundled ones behave differently under test."""
    return need_program(CHROMIUM, "chromium")
