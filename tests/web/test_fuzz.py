"""Whatever is sent, the answer is a clear 4xx or a success: never a 5xx, never a hang."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server import keys
from server.routes import all_routes
from tests.conftest import sign_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
RAW = st.binary(max_size=60) | st.sampled_from(
    [b"", b"{", b"[" * 2000, b'"\\ud800"', b'{"login":"\\u0000"}', b"\xff\xfe", b"null", b'{"a":1e999}', b"[]"]
)
ODD_IDS = ["x", "%00", "..%2f..", "'%20OR%201=1", "é", "0" * 300, "1.2.3", "null"]
LEFT_OUT = {"/api/logout", "/api/logout/everywhere", "/api/place", "/api/password", "/api/login"}


def mutations() -> list[tuple[str, str]]:
    """Method and template of every mutation but those that end the session used here (tested by name elsewhere)."""
    return sorted(
        {(route.method, route.path) for route in all_routes() if route.method not in {"GET", "HEAD"}}
        - {(method, path) for path in LEFT_OUT for method in ("POST",)}
    )


def known_keys() -> list[str]:
    """Words the bodies really use, so that the fuzz gets past the first check."""
    words = set()
    import server.api

    for path in __import__("pathlib").Path(server.api.__path__[0]).glob("*.py"):
        words |= set(re.findall(r"^    ([a-z_]+): ", path.read_text(encoding="utf-8"), re.MULTILINE))
    return sorted(words)


@pytest.mark.parametrize("who", ["doctor", "technician", "expert", "platform_admin"])
async def test_no_body_on_any_mutation_makes_a_5xx(open_browser, city, who, app):
    browser = await open_browser()
    await sign_in(browser, getattr(city, who).login)
    names = st.sampled_from(known_keys())
    bodies = st.one_of(
        RAW, JSON.map(lambda value: json.dumps(value).encode()),
        st.dictionaries(names, JSON, max_size=6).map(lambda value: json.dumps(value).encode()),
    )
    samples: list[bytes] = []

    @settings(max_examples=12, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))
    @given(bodies)
    def collect(body):
        samples.append(body)

    collect()
    wrong = []
    for place, (method, template) in enumerate(mutations()):
        for turn in range(3):
            odd = ODD_IDS[(place + turn) % len(ODD_IDS)]
            path = re.sub(r"\{[^{}]+(?:\{[^{}]*\}[^{}]*)?\}", odd, template)
            body = samples[(place * 3 + turn) % len(samples)]
            kind = "application/json" if turn < 2 else "application/octet-stream"
            from yarl import URL

            url = URL(f"{browser.origin}{path}", encoded=True)
            headers = browser.headers({"Content-Type": kind})
            async with browser.session.request(method, url, data=body, headers=headers) as answer:
                if answer.status >= 500:
                    wrong.append((method, path, answer.status, body[:80], await answer.text()))
    assert not wrong, "\n".join(map(str, wrong))
    assert app[keys.METRICS].problems.labels("internal")._value.get() == 0


@pytest.mark.parametrize("path", ["/api/login", "/api/place", "/api/password", "/api/setup"])
async def test_no_body_on_the_door_makes_a_5xx(open_browser, city, path):
    browser = await open_browser()
    await sign_in(browser, city.doctor.login)
    for body in (b"", b"{", b"[]", b"null", b'{"login":"\\ud800","password":"x"}', b'{"login":5,"password":[]}',
                 b'{"login":"a","password":"' + b"x" * 2000 + b'"}', b'{"membership":"\\u0000"}', b"[" * 3000):
        async with browser.post(path, data=body, headers={"Content-Type": "application/json"}) as answer:
            assert 400 <= answer.status < 500, (body[:40], answer.status)
            assert answer.content_type == "application/problem+json"


async def test_the_field_that_is_wrong_is_named_and_the_input_is_not_repeated(client, city):
    await sign_in(client, city.clinic_admin.login)
    new = {"login": "a-b", "name": "新" * 61, "role": "clinic_doctor"}
    async with client.post(f"/api/organisations/{city.clinic}/staff", json=new) as answer:
        value = await answer.json()
    assert answer.status == 422
    assert value["fields"] == [{"path": "name", "code": "too_long", "message": "内容太长，最多 60 个字"}]
    async with client.post(f"/api/organisations/{city.clinic}/staff", json={"login": "a"}) as answer:
        value = await answer.json()
    assert value["fields"][0]["code"] == "required"
    async with client.post(f"/api/organisations/{city.clinic}/staff", json=new | {"name": "x", "role": "king"}) as answer:
        assert (await answer.json())["fields"][0] == {"path": "role", "code": "choice", "message": "请从列表中选择"}
