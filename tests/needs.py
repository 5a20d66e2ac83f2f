"""Programs some tests need. A laptop without one skips the test and says what to install; CI must have them all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from pylopdf_fonts_zh_cn import sans_path

CHROMIUM = "/usr/bin/chromium"
ROOT = Path(__file__).resolve().parent.parent


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


def chinese_fonts() -> Path:
    """What fontconfig reads: the machine's own fonts, and the Chinese one that we print with, for machines without.

    Named in FONTCONFIG_FILE before anything starts that starts a browser.
    """
    file = ROOT / "build" / "fonts.conf"
    file.parent.mkdir(exist_ok=True)
    text = f"""<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><include ignore_missing="yes">/etc/fonts/fonts.conf</include><dir>{Path(sans_path()).parent}</dir></fontconfig>
"""
    if not file.is_file() or file.read_text() != text:
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_text(text)
        fresh.replace(file)
    return file
