"""Autosave: nothing typed is ever lost, whoever or whatever is in the way."""

from __future__ import annotations

import pytest

from tests.browser.conftest import until

pytestmark = pytest.mark.browser

START = """async ({ answers, version }) => {
  const { autosave } = await import('/static/js/autosave.js');
  const { Problem } = await import('/static/js/api.js');
  document.querySelector('#main').innerHTML = '<textarea id="t"></textarea><p id="s" role="status"></p>';
  const box = document.getElementById('t');
  window.sent = [];
  window.saver = autosave({
    key: 'report:1', version, delay: 50, status: document.getElementById('s'),
    collect: () => ({ text: box.value }),
    apply: (content) => { box.value = content.text; },
    load: async () => ({ version: 9, content: { text: 'theirs' } }),
    save: async (content, known) => {
      window.sent.push([content.text, known]);
      const next = answers.shift() ?? 'ok';
      if (next !== 'ok') throw new Problem({ code: next, status: next === 'stale' ? 409 : 0, detail: 'x' });
      return { version: known + 1, saved_at: '2026-11-22T06:05:31Z' };
    },
  });
  box.addEventListener('input', () => window.saver.touch());
}"""


async def start(site, city, answers=(), version=6):
    page = await site.enter("expert", city.expert)
    await page.evaluate(START, {"answers": list(answers), "version": version})
    return page


async def test_it_tells_when_and_which_version_was_saved_and_keeps_no_copy_then(site, city):
    page = await start(site, city)
    await page.fill("#t", "窦性心律")
    await until(page, "document.getElementById('s').textContent.includes('第 7 版')")
    assert await page.inner_text("#s") == "已自动保存 14:05:31 · 第 7 版"
    assert await page.evaluate("Object.keys(sessionStorage).filter((k) => k.includes('draft')).length") == 0


async def test_a_lost_line_keeps_the_text_here_and_a_reload_brings_it_back(site, city):
    page = await start(site, city, ["offline"] * 20)
    await page.fill("#t", "ST 段抬高")
    await page.wait_for_selector(".saved-bad")
    assert "内容都在" in await page.inner_text("#s")
    assert await page.input_value("#t") == "ST 段抬高"
    page.on("dialog", lambda dialog: dialog.accept())
    await page.reload()
    await page.evaluate(START, {"answers": [], "version": 6})
    assert await page.input_value("#t") == "ST 段抬高"
    await until(page, "document.getElementById('s').textContent.includes('第 7 版')")
    assert await page.evaluate("window.sent") == [["ST 段抬高", 6]]


@pytest.mark.parametrize(("button", "kept", "sent"), [("保存我的内容", "mine", 9), ("看最新的版本", "theirs", None)])
async def test_when_somebody_else_was_faster_the_person_chooses(site, city, button, kept, sent):
    page = await start(site, city, ["stale"])
    await page.fill("#t", "mine")
    await page.click(f"dialog >> text={button}")
    await page.wait_for_selector("dialog", state="detached")
    await page.wait_for_selector("#s.saved:not(.saved-bad)")
    assert await page.input_value("#t") == kept
    if sent:
        await until(page, "document.getElementById('s').textContent.includes('第 10 版')")
        assert await page.evaluate("window.sent.at(-1)") == ["mine", sent]


async def test_flush_says_whether_the_server_has_everything(site, city):
    page = await start(site, city, ["ok"])
    await page.fill("#t", "a")
    assert await page.evaluate("window.saver.flush()") is True
    await page.evaluate("window.saver.stop()")
    await page.evaluate(START, {"answers": ["offline"] * 9, "version": 7})
    await page.fill("#t", "b")
    assert await page.evaluate("window.saver.flush()") is False
    assert await page.input_value("#t") == "b"
    await page.evaluate("window.saver.stop()")
