"""Five seats in one page without media: who is large, who is small, and that everybody is seen (static/js/room/grid.js)."""

import itertools
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.browser

STATIC = Path(__file__).resolve().parent.parent.parent / "static"
SITE = "http://layouts.test"
FOUR = ("expert", "chair", "guest", "nurse")
PAGE = """<!doctype html><html lang="zh"><head><meta charset="utf-8">
<link rel="stylesheet" href="/static/css/base.css"><link rel="stylesheet" href="/static/css/components.css">
<link rel="stylesheet" href="/static/css/room.css"><link rel="stylesheet" href="/static/css/room-grid.css"></head>
<body><div class="room-video grouped" style="width:640px"><div class="room-grid" id="grid"></div></div>
<button id="layout" aria-pressed="false">突出发言者</button></body></html>"""
BEGIN = """async () => {
    const { Grid } = await import('/static/js/room/grid.js');
    const id = (name) => document.getElementById(name);
    const grid = window.grid = new Grid({ root: id('grid'), button: id('layout') });
    window.draw = (seats, speaks = '', now = 0) => grid.draw(
        seats.map((seat) => ({ name: seat, title: '', mic: true, camera: true, connected: true, ...(seat.seat ? seat : { seat }) })),
        new Map(speaks ? [[speaks, { level: 0.3 }]] : []), now);
    window.boxes = () => Object.fromEntries([...document.querySelectorAll('.room-tile')].map((tile) => {
        const { left, top, right, bottom } = tile.getBoundingClientRect();
        return [tile.dataset.seat, { left, top, right, bottom, large: tile.classList.contains('large') }];
    }));
}"""


@pytest.fixture(scope="module")
async def empty(one_chromium):
    """A page with nothing but the grid's element; every file comes from the repository."""
    browser = await one_chromium.browser()
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()

    async def serve(route) -> None:
        path = urlsplit(route.request.url).path
        file = STATIC / path.removeprefix("/static/")
        if path == "/":
            await route.fulfill(body=PAGE, content_type="text/html")
        elif file.is_file():
            await route.fulfill(path=file)
        else:
            await route.fulfill(status=204)

    await page.route(f"{SITE}/**", serve)
    yield page
    await context.close()


@pytest.fixture
async def page(empty):
    await empty.goto(f"{SITE}/")
    await empty.evaluate(BEGIN)
    return empty


async def draw(page, seats, speaks: str, now: int) -> None:
    """The room says who is here and who speaks, at `now` ms."""
    await page.evaluate("([seats, speaks, now]) => draw(seats, speaks, now)", [list(seats), speaks, now])


async def shown(page) -> tuple[str, str, dict]:
    """The layout, who is large, and where everybody's tile is."""
    boxes = await page.evaluate("boxes()")
    large = [seat for seat, box in boxes.items() if box["large"]]
    assert len(large) < 2
    area = await page.evaluate("(({ left, top, right, bottom }) => ({ left, top, right, bottom }))(grid.root.getBoundingClientRect())")
    for box in boxes.values():
        assert area["left"] <= box["left"] < box["right"] <= area["right"] + 0.5
        assert area["top"] <= box["top"] < box["bottom"] <= area["bottom"] + 0.5
    for one, two in itertools.combinations(boxes.values(), 2):
        apart = one["right"] <= two["left"] + 0.5 or two["right"] <= one["left"] + 0.5
        assert apart or one["bottom"] <= two["top"] + 0.5 or two["bottom"] <= one["top"] + 0.5
    return await page.evaluate("document.getElementById('grid').dataset.layout"), "".join(large), boxes


def size(box: dict) -> float:
    return (box["right"] - box["left"]) * (box["bottom"] - box["top"])


async def test_of_five_seats_the_speaker_is_large_until_somebody_else_speaks_for_long_enough(page):
    await draw(page, FOUR, "guest", 5000)
    layout, large, boxes = await shown(page)
    assert (layout, large, set(boxes)) == ("speaker", "guest", set(FOUR))
    small = [size(box) for seat, box in boxes.items() if seat != "guest"]
    assert size(boxes["guest"]) > 3 * max(small)
    assert max(small) < 1.1 * min(small)
    await draw(page, FOUR, "chair", 6000)             # a cough
    assert (await shown(page))[1] == "guest"
    assert await page.locator("[data-seat=chair]").get_attribute("data-speaks") == "true"
    await draw(page, FOUR, "chair", 9000)
    assert (await shown(page))[1] == "chair"
    await draw(page, FOUR, "", 19000)                 # silence changes nothing
    assert (await shown(page))[1] == "chair"


async def test_a_pin_keeps_one_large_whoever_speaks_or_shares_and_is_taken_out_with_a_key(page):
    await draw(page, FOUR, "guest", 5000)
    pin = page.locator("[data-seat=nurse] button")
    assert await pin.get_attribute("aria-label") == "固定 nurse 的画面"
    await pin.press("Enter")
    await draw(page, FOUR, "chair", 9000)
    assert (await shown(page))[:2] == ("speaker", "nurse")
    await draw(page, [{"seat": "expert", "name": "expert", "screen": True}, *FOUR[1:]], "chair", 12000)
    assert (await shown(page))[1] == "nurse"
    assert await pin.get_attribute("aria-pressed") == "true"
    assert await page.evaluate("grid.wanted") == "nurse"
    await pin.press("Enter")
    assert (await shown(page))[1] == "expert"                               # the shared screen
    await draw(page, FOUR, "chair", 15000)
    assert (await shown(page))[1] == "chair"


async def test_the_button_shows_all_alike_and_back_and_whoever_leaves_takes_the_pin_along(page):
    await draw(page, FOUR, "guest", 5000)
    button = page.locator("#layout")
    assert await button.get_attribute("aria-pressed") == "true"
    await page.locator("[data-seat=nurse] button").press("Enter")
    await button.press("Enter")
    layout, large, boxes = await shown(page)
    assert (layout, large, await button.get_attribute("aria-pressed")) == ("grid", "", "false")
    sizes = [size(x) for x in boxes.values()]
    assert max(sizes) < 1.1 * min(sizes)
    await button.press("Enter")
    assert (await shown(page))[:2] == ("speaker", "guest")
    await page.locator("[data-seat=nurse] button").press("Enter")
    await draw(page, FOUR[:3], "guest", 6000)
    layout, large, boxes = await shown(page)
    assert (large, set(boxes)) == ("guest", set(FOUR[:3]))
    assert await page.evaluate("grid.pinned") == ""


async def test_every_number_of_seats_up_to_eight_fits_in_both_layouts(page):
    for count in range(1, 8):
        seats = [f"seat{n}" for n in range(count)]
        for layout in ("grid", "speaker"):
            await page.evaluate("(layout) => { grid.layout = layout; }", layout)
            await draw(page, seats, seats[-1], 99000)
            shows, large, boxes = await shown(page)
            assert (shows, len(boxes), bool(large)) == (layout, count, layout == "speaker")


async def test_of_what_the_relay_does_not_pass_on_a_name_stands_instead_of_a_picture(page):
    await page.evaluate("grid.passed = { rung: 'small', sees: 'chair' }")
    await draw(page, FOUR, "guest", 5000)
    seen = await page.evaluate("[...document.querySelectorAll('[data-video=true]')].map((x) => x.dataset.seat)")
    assert seen == ["chair"]
    assert await page.locator("[data-seat=nurse] .room-tile-nobody").is_visible()
    assert await page.locator("[data-seat=nurse] figcaption").inner_text() == "nurse"
