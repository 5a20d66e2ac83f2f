"""Pages need nothing that Chromium 109 has not: the last one for Windows 7, and the kernel of many Chinese browsers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STATIC = ROOT / "static"
# What came later (the version of Chromium), as it stands in a script or style sheet.
SCRIPTS = {
    r"\.toSorted\(|\.toReversed\(|\.toSpliced\(": 110, r"\.isWellFormed\(": 111, r"startViewTransition": 111,
    r"AbortSignal\.any\(": 116, r"(Object|Map)\.groupBy\(": 117, r"Promise\.withResolvers": 119,
    r"URL\.canParse\(": 120, r"Array\.fromAsync": 121,
    r"\.(union|intersection|difference|symmetricDifference|isSubsetOf|isSupersetOf)\(": 122,
    r"\.(values|keys|entries)\(\)\.(map|filter|take|drop|flatMap|reduce|toArray|forEach|some|every|find)\(": 122,
    r"URL\.parse\(": 126, r"Promise\.try\(": 128, r"\.transferToFixedLength\(": 114, r"RegExp\.escape": 136,
    r"Uint8Array\.from(Base64|Hex)|\.to(Base64|Hex)\(": 140, r"Math\.sumPrecise": 147,
}  # fmt: skip
STYLES = {
    r"color-mix\(|\b(ok)?l(ab|ch)\(": 111, r"\n\s+&|\{\s*&": 112, r"\b(sin|cos|atan2?)\(": 111, r"linear\(0": 113,
    r"text-wrap\s*:": 114, r"subgrid": 117, r"@starting-style|@scope|transition-behavior": 117,
    r"light-dark\(": 123, r"anchor\(|position-anchor": 125, r"interpolate-size": 129,
}  # fmt: skip
# It is there where the page asks first, or where a browser that passes it over loses nothing but looks.
WITHOUT = {
    "static/js/ui.js": r"if \(stack\.showPopover\)",                 # popover: 114
    "static/js/room/quality.js": r"jitterBufferTarget !== wait",     # 124: a property that nobody reads before
}


def texts(*endings: str) -> list[Path]:
    """Our own scripts or style sheets, not what is bundled."""
    return [x for x in sorted(STATIC.rglob("*")) if x.suffix in endings and "dist" not in x.relative_to(STATIC).parts]


@pytest.mark.parametrize(("endings", "later"), [((".js",), SCRIPTS), ((".css",), STYLES)])
def test_nothing_newer_than_chromium_109_stands_in_pages(endings, later):
    found = [
        f"{path.relative_to(ROOT)}: {match.group(0).strip()!r} came with {version}"
        for path in texts(*endings)
        for pattern, version in later.items()
        for match in re.finditer(pattern, path.read_text(encoding="utf-8"))
    ]
    assert found == []
    assert len(texts(*endings)) > 10


def test_what_is_newer_is_asked_for_first():
    for name, guard in WITHOUT.items():
        assert re.search(guard, (ROOT / name).read_text(encoding="utf-8")), name


def test_the_page_of_browsers_says_what_is_supported_tried_and_left_out():
    page = (ROOT / "docs/browsers.md").read_text(encoding="utf-8")
    for words in ("Chromium ≥ 109", "Windows 7", "360", "Firefox ESR", "Safari ≥ 16.4", "not tried by hand",
                  "SIP and H.323", "Captions", "End-to-end encryption of relayed media"):  # fmt: skip
        assert words in page, words
    assert "docs/browsers.md" in (ROOT / "README.md").read_text(encoding="utf-8")
