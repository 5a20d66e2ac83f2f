"""What every answer carries, and what is refused before any handler runs."""

from __future__ import annotations

import io
import json
import logging

import pytest
from aiohttp import web

from server import keys
from server.logs import JsonFormatter
from server.routes import Route, install
from tests.conftest import sign_in

PAGE = {"Accept": "text/html"}


async def test_every_kind_of_answer_carries_the_security_headers(client, city):
    await sign_in(client, city.doctor.login)
    for path in ("/api/session", "/login", "/nothing/here", "/static/css/base.css", "/healthz", "/dicom-web/nothing"):
        async with client.get(path, headers=PAGE, allow_redirects=False) as answer:
            csp = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in csp, path
            assert "unsafe-inline" not in csp
            assert "unsafe-eval" not in csp.replace("wasm-unsafe-eval", "")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert "camera=(self)" in answer.headers["Permissions-Policy"]
            assert len(answer.headers["X-Request-Id"]) == 16
            assert "Server" not in answer.headers


async def test_tls_behind_a_trusted_proxy_binds_the_cookie_and_asks_for_tls(settings, clock, passwords, password_hash):
    import msgspec
    from aiohttp.test_utils import TestClient, TestServer

    from server.app import create_app
    from tests.city import PASSWORD, build_city

    behind = msgspec.structs.replace(settings, trusted_proxies=("127.0.0.1/32",))
    app = create_app(behind, clock=clock, passwords=passwords, background=False)
    city = await app[keys.WORK].run(build_city, password_hash)
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "hz.example", "Origin": "https://hz.example"}
    async with TestClient(TestServer(app)) as client:
        given = {"login": city.doctor.login, "password": PASSWORD}
        async with client.post("/api/login", json=given, headers=forwarded) as answer:
            assert answer.status == 200
            cookie = answer.headers["Set-Cookie"]
            assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    assert cookie.startswith("__Host-huizhen=")
    for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie


async def test_forwarded_headers_of_strangers_are_not_believed(client, city):
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "Origin": "https://evil.example"}
    async with client.post("/api/login", json={"login": "a", "password": "b"}, headers=headers) as answer:
        assert (await answer.json())["code"] == "foreign_origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", ""])
async def test_a_mutation_from_another_origin_is_refused_even_with_the_token(client, city, origin):
    await sign_in(client, city.doctor.login)
    async with client.post("/api/logout", headers={"Origin": origin}) as answer:
        assert answer.status == 403
        assert (await answer.json())["code"] == "foreign_origin"


@pytest.mark.parametrize("token", ["", "wrong", "0" * 43, "ü"])
async def test_a_mutation_without_the_sessions_token_is_refused(client, city, token):
    await sign_in(client, city.doctor.login)
    client.csrf = ""
    async with client.post("/api/logout", headers={"X-CSRF-Token": token}) as answer:
        assert answer.status == 403
        assert (await answer.json())["code"] == "csrf"
    async with client.get("/api/session") as answer:
        assert answer.status == 200


async def test_a_websocket_from_another_origin_is_refused(client, city, app):
    sockets = [route for route in app[keys.POLICIES] if route.resource.canonical == "/socket"]
    if not sockets:
        pytest.skip("the room's socket is not listed in routes.py yet")
    await sign_in(client, city.doctor.login)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": "https://evil.example"}
    async with client.get("/socket", headers=upgrade) as answer:
        assert answer.status == 403


async def test_people_get_a_page_and_programs_get_problem_json(client, city):
    async with client.get("/nowhere", headers=PAGE) as answer:
        assert answer.status == 404
        assert answer.content_type == "text/html"
        text = await answer.text()
    assert "没有找到" in text
    assert answer.headers["X-Request-Id"] in text
    async with client.get("/api/nowhere", headers={"Accept": "application/json"}) as answer:
        value = await answer.json(content_type="application/problem+json")
    assert value["status"] == answer.status == 404
    assert value["code"] == "not_found"
    assert value["type"] == "about:blank"
    assert value["request_id"] == answer.headers["X-Request-Id"]


async def test_a_page_sends_the_signed_out_to_sign_in_and_back(client, city):
    async with client.get("/audit", headers=PAGE, allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/login?next=/audit"
    async with client.get("/api/session") as answer:
        assert answer.status == 401
        assert (await answer.json())["code"] == "signed_out"


async def test_the_language_follows_the_query_then_the_cookie_then_the_browser(client, city):
    async def title(**kwargs):
        async with client.get("/nowhere", **kwargs) as answer:
            return await answer.text()

    assert 'lang="en"' in await title(headers=PAGE | {"Accept-Language": "en-GB,en;q=0.9,zh;q=0.5"})
    assert 'lang="zh-CN"' in await title(headers=PAGE | {"Accept-Language": "fr"})
    assert 'lang="en"' in await title(headers=PAGE, params={"lang": "en"})
    assert 'lang="en"' in await title(headers=PAGE | {"Accept-Language": "zh"})  # the cookie set just now


async def test_an_unexpected_error_is_a_500_with_the_id_and_logs_no_data(settings, clock, passwords, caplog):
    from aiohttp.test_utils import TestClient, TestServer

    from server.app import create_app
    from server.policy import PUBLIC

    secret = "张三 330106"

    async def broken(request):
        raise RuntimeError(secret)

    app = create_app(settings, clock=clock, passwords=passwords, background=False)
    app[keys.POLICIES][app.router.add_get("/broken", broken)] = PUBLIC
    async with TestClient(TestServer(app)) as client:
        with caplog.at_level(logging.INFO):
            async with client.get("/broken", params={"name": secret}) as answer:
                assert answer.status == 500
                text = await answer.text()
    assert secret not in text
    formatter = JsonFormatter()
    lines = [formatter.format(record) for record in caplog.records if record.name.startswith("huizhen")]
    assert len(lines) == 2
    for line in lines:
        assert "张三" not in line
        assert "330106" not in line
        json.loads(line)
    assert "RuntimeError" in lines[0]


async def test_a_body_over_the_limit_is_refused_before_it_is_read(client, city):
    await sign_in(client, city.doctor.login)
    big = json.dumps({"membership": "x" * (2 << 20)})
    async with client.post("/api/place", data=io.BytesIO(big.encode()), headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 413
        assert (await answer.json())["code"] == "too_large"


async def test_a_compressed_body_is_refused_instead_of_unpacked(client, city):
    import gzip

    await sign_in(client, city.doctor.login)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with client.post("/api/place", data=gzip.compress(b"{}" + b" " * 1_000_000), headers=headers) as answer:
        assert answer.status == 415


async def test_csp_reports_are_counted_and_nothing_else(client, city, app):
    report = {"csp-report": {"effective-directive": "img-src", "document-uri": "http://x/patients/1"}}
    headers = {"Content-Type": "application/csp-report"}
    async with client.session.post(client.make_url("/csp-report"), data=json.dumps(report), headers=headers) as answer:
        assert answer.status == 204
    text = app[keys.METRICS].text().decode()
    assert 'huizhen_csp_reports_total{directive="img-src"} 1.0' in text


async def test_metrics_are_for_this_machine_or_the_token(settings, clock, passwords):
    import msgspec
    from aiohttp.test_utils import TestClient, TestServer

    from server.app import create_app

    behind = msgspec.structs.replace(settings, trusted_proxies=("127.0.0.1",), metrics_token="t" * 20)
    app = create_app(behind, clock=clock, passwords=passwords, background=False)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/metrics") as answer:
            assert answer.status == 200
        elsewhere = {"X-Forwarded-For": "203.0.113.9"}
        async with client.get("/metrics", headers=elsewhere) as answer:
            assert answer.status == 404
        async with client.get("/metrics", headers=elsewhere | {"Authorization": "Bearer " + "t" * 20}) as answer:
            assert answer.status == 200


async def test_a_route_without_a_policy_stops_the_start(monkeypatch):
    async def handler(request):
        return web.Response()

    monkeypatch.setattr("server.routes.all_routes", lambda: (Route("GET", "/x", handler, None),))
    with pytest.raises(TypeError, match="no policy"):
        install(web.Application())
    both = (Route("GET", "/x", handler, object.__new__(__import__("server.policy").policy.Policy)),) * 2
    monkeypatch.setattr("server.routes.all_routes", lambda: both)
    with pytest.raises(ValueError, match="twice"):
        install(web.Application())


async def test_static_files_are_kept_for_good_under_their_digest(client, city, app):
    from server.pages.assets import ASSETS

    url = app[ASSETS].url("css/base.css")
    async with client.get(url) as answer:
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        tag = answer.headers["ETag"]
    async with client.get("/static/css/base.css", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
        assert answer.headers["Cache-Control"] == "no-cache"
    async with client.get("/static/css/base.css", headers={"Accept-Encoding": "identity"}) as answer:
        assert "Content-Encoding" not in answer.headers
    for path in ("/static/build.mjs", "/static/viewer/main.js", "/static/../pyproject.toml", "/static/css/%2e%2e/icons.txt"):
        async with client.get(path) as answer:
            assert answer.status == 404, path
