"""The user guide: a picture of each page in both languages, taken by the walk through the demo city (`make docs`)."""

from __future__ import annotations

import os
import re

import pytest

from tests.browser.touring import GUIDE, MOST_BYTES, ROOT, visited

LINK = re.compile(r"!\[[^\]]+\]\(screenshots/([\w-]+)\.png\)")


@pytest.mark.parametrize(("page", "lang"), [("README.md", "zh"), ("README.en.md", "en")])
def test_every_picture_of_the_guide_is_there_small_and_described(page, lang):
    text = (ROOT / "docs" / "guide" / page).read_text(encoding="utf-8")
    shown = LINK.findall(text)
    assert len(shown) >= 15 and all(name.endswith(f"-{lang}") for name in shown)
    for name in shown:
        assert 5_000 < (GUIDE / f"{name}.png").stat().st_size <= MOST_BYTES, name
    assert {path.stem for path in GUIDE.glob(f"*-{lang}.png")} == set(shown)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("HUIZHEN_GUIDE"), reason="pictures are taken by `make docs`")
@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_the_walk_takes_the_pictures(lang):
    failed = [f"{visit.name}: {visit.failed}" for visit in await visited(lang) if visit.failed]
    assert not failed, "\n".join(failed)
