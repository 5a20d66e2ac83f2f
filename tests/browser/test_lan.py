"""`make run LAN=1` as a tablet meets it: the plain page with the root, then the encrypted one with a camera."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl

import pytest
from aiohttp import ClientSession, TCPConnector, web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.serving import runner_of, start_trust
from server.settings import Settings, Tls
from server.tls import lan_certificate, network_addresses, server_context
from server.trusting import fingerprint, trust_app
from tests.chromium import Chromium

pytestmark = pytest.mark.browser
NAME = "huizhen.test"
CAMERA = """async () => {
  const stream = await navigator.mediaDevices.getUserMedia({video: true, audio: true});
  const kinds = stream.getTracks().map((track) => track.kind).sort();
  stream.getTracks().forEach((track) => track.stop());
  return kinds;
}"""


@pytest.fixture
async def lan(app, city, settings):
    """The application over TLS under NAME, the page with the root beside it: (made, port, port of the page)."""
    del city
    made = lan_certificate(settings.data / "tls", ["localhost", "127.0.0.1", NAME])
    runner = runner_of(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(made.chain, made.key)).start()
    port = runner.addresses[0][1]
    plain = web.AppRunner(trust_app(settings, made.root, port), access_log=None)
    await plain.setup()
    await web.TCPSite(plain, "127.0.0.1", 0).start()
    yield made, port, plain.addresses[0][1]
    await plain.cleanup()
    await runner.cleanup()


async def test_a_device_that_installed_the_root_reaches_a_page_with_camera(lan):
    made, port, plain = lan
    root = x509.load_pem_x509_certificate(made.root.read_bytes())
    spki = hashlib.sha256(root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    tablet = Chromium(
        f"--ignore-certificate-errors-spki-list={base64.b64encode(spki).decode()}",
        f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
    )
    try:
        context = await (await tablet.browser()).new_context(viewport={"width": 820, "height": 1180}, locale="zh-CN")
        page = await context.new_page()
        trouble = []
        page.on("console", lambda said: said.type == "error" and trouble.append(said.text))
        await page.goto(f"http://{NAME}:{plain}/")
        assert not await page.evaluate("isSecureContext")
        assert fingerprint(made.root) in await page.inner_text("main")
        await page.get_by_role("link", name="打开会诊系统").click()
        await page.wait_for_selector("#login-form")
        assert page.url.startswith(f"https://{NAME}:{port}/")
        assert await page.evaluate("isSecureContext")
        await context.grant_permissions(["camera", "microphone"])
        assert await page.evaluate(CAMERA) == ["audio", "video"]
        assert trouble == []
    finally:
        await tablet.close()


async def test_the_root_from_the_plain_page_makes_the_server_trusted_and_nothing_else_is_served_there(lan):
    made, port, plain = lan
    async with ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{plain}/root.crt") as answer:
            assert answer.content_type == "application/x-x509-ca-cert"
            assert "Content-Disposition" not in answer.headers  # iOS offers the profile only when it is shown
            root = await answer.read()
        for path in ("/root.key", "/login", "/../tls/root.key", "/healthz"):
            async with session.get(f"http://127.0.0.1:{plain}{path}") as answer:
                assert answer.status == 404
        async with session.get(f"http://127.0.0.1:{plain}/", headers={"Accept-Language": "en"}) as answer:
            assert "Trust this server" in await answer.text()
    assert root == made.root.read_bytes()
    trusting = ssl.create_default_context(cadata=root.decode())
    secure = TCPConnector(ssl=trusting)
    async with ClientSession(connector=secure) as session, session.get(f"https://localhost:{port}/healthz") as answer:
        assert answer.status == 200


async def test_a_taken_port_beside_ours_costs_only_the_page(tmp_path, settings):
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    lan_certificate(settings.data / "tls", ["localhost"])
    given = Settings(data=settings.data, tls=Tls(mode="lan"))
    assert await start_trust(given, port - 1) is None
    assert await start_trust(Settings(data=settings.data), port - 1) is None
    taken.close()
    await taken.wait_closed()


def test_addresses_of_the_network_are_those_others_can_use():
    assert all(not address.startswith("127.") for address in network_addresses())
