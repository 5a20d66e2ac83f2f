"""Settings, command line, control socket, TLS, languages: what an operator meets."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from datetime import UTC, date, datetime, timedelta

import pytest

from server import cli, i18n, keys
from server.control import CommandRefused, control_app, run_directly
from server.settings import Room, Settings, SettingsError, clinical_rules
from server.settings_reading import load_settings
from server.tls import lan_certificate, server_context
from tests.city import PASSWORD
from tests.conftest import sign_in


def test_variables_lie_over_the_file_and_options_over_both(tmp_path):
    file = tmp_path / "h.toml"
    file.write_text('port = 1\nhost = "a"\n[session]\nidle_minutes = 5\n', encoding="utf-8")
    environment = {"HUIZHEN_PORT": "2", "HUIZHEN_ICE__TURN_URLS": "turn:a,turn:b", "HUIZHEN_DEMO": "true"}
    found = load_settings(file, environment=environment, override={"port": 3})
    assert (found.port, found.host, found.session.idle_minutes, found.demo) == (3, "a", 5, True)
    assert found.ice.turn_urls == ("turn:a", "turn:b")


@pytest.mark.parametrize("environment", [{"HUIZHEN_PROT": "1"}, {"HUIZHEN_PORT": "x"}, {"HUIZHEN_TLS__MODE": "yes"}])
def test_a_mistyped_setting_stops_the_start(environment):
    with pytest.raises(SettingsError):
        load_settings(environment=environment)


def test_deadlines_of_the_settings_reach_the_clinical_rules():
    found = load_settings(environment={"HUIZHEN_DEADLINES__STAT_ACCEPT_MINUTES": "7", "HUIZHEN_DEADLINES__HOLIDAYS": "2026-10-01"})
    rules = clinical_rules(found)
    assert clinical_rules(Settings(room=Room(lost_minutes=7))).lost_seat == timedelta(minutes=7)
    assert clinical_rules(Settings(room=Room(invitation_minutes=9))).invitation == timedelta(minutes=9)
    assert rules.deadlines.stat_accept == timedelta(minutes=7)
    assert not rules.calendar.is_working(date(2026, 10, 1))


@pytest.mark.parametrize("minutes", ["3,2,5", "0,3,5", "1,3,3"])
def test_an_emergency_cannot_get_louder_backwards(minutes):
    assert load_settings(environment={"HUIZHEN_DEADLINES__STAT_ESCALATION_MINUTES": "2,4,9"}).deadlines.stat_escalation_minutes == (2, 4, 9)
    with pytest.raises(SettingsError, match="stat_escalation_minutes"):
        load_settings(environment={"HUIZHEN_DEADLINES__STAT_ESCALATION_MINUTES": minutes})


def test_user_commands_work_on_the_data_folder_alone(settings, capsys, monkeypatch):
    import io

    monkeypatch.setenv("HUIZHEN_DATA", str(settings.data))
    monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
    add = ["user", "add", "root-admin", "--name", "管理", "--organisation", "城东中心", "--role", "org_admin"]
    assert cli.run(add) == 1
    assert "no organisation" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
    assert cli.run([*add, "--new-organisation"]) == 0
    assert cli.run(["user", "list"]) == 0
    assert "root-admin" in capsys.readouterr().out
    assert cli.run(["audit", "verify"]) == 0
    assert "the chain is whole" in capsys.readouterr().out
    assert cli.run(["check"]) == 0
    assert "BAD" not in capsys.readouterr().out
    assert cli.run(["version"]) == 0
    assert "python" in json.loads(capsys.readouterr().out)
    with pytest.raises(CommandRefused, match="at least 10"):
        run_directly(settings, {"command": "user_passwd", "login": "root-admin", "password": "short"})


def test_a_file_that_is_no_report_is_not_called_genuine(settings, capsys, tmp_path):
    from server.paper.authority import CertificateAuthority

    file = tmp_path / "r.pdf"
    file.write_bytes(b"not a PDF")
    command = ["report", "verify", str(file), "--data", str(settings.data)]
    assert cli.run(command) == 1
    assert "no root certificate" in capsys.readouterr().err
    CertificateAuthority.open(settings.key_folder, clock=lambda: datetime.now(UTC))
    assert cli.run(command) == 1
    assert "无法确认" in capsys.readouterr().out


async def test_a_second_process_reaches_the_running_server_and_logins_end(client, city, app, settings, tmp_path):
    from aiohttp import ClientSession, UnixConnector, web

    await sign_in(client, city.doctor.login)
    runner = web.AppRunner(control_app(app))
    await runner.setup()
    path = str(tmp_path / "c.sock")
    await web.UnixSite(runner, path).start()
    try:
        async with ClientSession(connector=UnixConnector(path)) as second:
            command = {"command": "user_disable", "login": city.doctor.login}
            async with second.post("http://localhost/command", json=command) as answer:
                assert answer.status == 200, await answer.text()
            async with second.post("http://localhost/command", json={"command": "nonsense"}) as answer:
                assert answer.status == 409
    finally:
        await runner.cleanup()
    async with client.get("/api/session") as answer:
        assert answer.status == 401


async def test_the_local_ca_makes_a_certificate_browsers_can_verify(tmp_path):
    made = lan_certificate(tmp_path, ["localhost", "127.0.0.1"])
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "root.key").stat().st_mode & 0o777 == 0o600
    before = made.chain.read_bytes()
    lan_certificate(tmp_path, ["localhost"])
    assert made.chain.read_bytes() == before
    lan_certificate(tmp_path, ["localhost", "10.0.0.5"])
    assert made.chain.read_bytes() != before
    late = datetime.now(UTC) + timedelta(days=380)
    renewed = made.chain.read_bytes()
    lan_certificate(tmp_path, ["localhost"], now=late)
    assert made.chain.read_bytes() != renewed
    lan_certificate(tmp_path, ["localhost", "127.0.0.1"])

    async def hello(reader, writer):
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0, ssl=server_context(made.chain, made.key))
    port = server.sockets[0].getsockname()[1]
    trust = ssl.create_default_context(cafile=made.root)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_the_first_administrator_is_set_up_once_with_the_code(settings, clock, passwords):
    from aiohttp.test_utils import TestServer

    from server.app import create_app
    from tests.conftest import Browser

    app = create_app(settings, clock=clock, passwords=passwords, background=False)
    async with Browser(TestServer(app)) as browser:
        code = app[keys.SETUP_CODE][0]
        value = {"code": "0", "organisation": "市卫健委", "name": "冯", "login": "root.admin", "password": PASSWORD}
        async with browser.get("/login", headers={"Accept": "text/html"}, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/setup"
        async with browser.post("/api/setup", json=value) as answer:
            refusal = await answer.json()
        assert refusal["code"] == "setup_code"
        assert [field["path"] for field in refusal["fields"]] == ["code"]
        async with browser.post("/api/setup", json=value | {"code": code.upper()}) as answer:
            assert answer.status == 200
        async with browser.post("/api/setup", json=value | {"code": code}) as answer:
            assert (await answer.json())["code"] == "setup_done"
        async with browser.get("/setup") as answer:
            assert answer.status == 404
        # Both roles began at the same moment; the platform is where there is something to do first, also tomorrow.
        async with browser.post("/api/login", json={"login": "root.admin", "password": PASSWORD}) as answer:
            signed_in = await answer.json()
        assert [place["role"] for place in signed_in["places"]] == ["platform_admin", "org_admin"]
        assert signed_in["membership"] == signed_in["places"][0]["membership"]
        assert signed_in["choose"] is False


async def test_the_browsers_words_are_those_of_its_files(client, city):
    async with client.get("/login", headers={"Cookie": "lang=en"}) as answer:
        script = re.search(r'<script defer src="(/static/i18n/en[^"]+)"', await answer.text())[1]
    async with client.get(script) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        words = (await answer.text()).removeprefix("globalThis.words=").rstrip(";\n")
    english = json.loads(words)
    assert english["登录已过期"]
    assert "没有任职机构" not in english
    async with client.get("/login") as answer:
        assert "i18n" not in await answer.text()


async def test_it_is_ready_when_database_and_archive_are(client, city, app):
    async with client.get("/readyz") as answer:
        assert answer.status == 503
        assert (await answer.json())["parts"] == {"archive": False, "database": True}
    await app[keys.ARCHIVE_STARTED].wait()
    async with client.get("/readyz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("birth", "on", "chinese", "english"),
    [
        (date(1970, 5, 1), date(2026, 11, 22), "56 岁", "56"),
        (date(2026, 8, 10), date(2026, 11, 22), "3 月 12 天", "3"),
        (date(2026, 11, 10), date(2026, 11, 22), "12 天", "12"),
        (date(2025, 7, 22), date(2026, 11, 22), "1 岁 4 月", "1"),
        (date(2024, 2, 29), date(2025, 2, 28), "11 月 30 天", "11"),
        (date(2026, 1, 31), date(2026, 3, 1), "1 月 1 天", "1"),
        (date(2027, 1, 1), date(2026, 11, 22), "", ""),
        (None, date(2026, 11, 22), "", ""),
    ],
)
def test_ages_are_said_as_clinicians_say_them(birth, on, chinese, english):
    assert i18n.age(birth, on) == chinese
    assert i18n.age(birth, on, "en").startswith(english)


@pytest.mark.parametrize(
    ("birth", "chinese", "english"),
    [
        (date(1966, 11, 22), "约 60 岁", "about 60 y"),
        (date(2025, 5, 22), "约 1 岁", "about 1 y"),
        (date(2026, 6, 20), "约 5 月", "about 5 mo"),
        (date(2026, 11, 20), "约 2 天", "about 2 d"),
        (None, "", ""),
    ],
)
def test_an_estimated_age_is_said_in_one_unit_and_marked(birth, chinese, english):
    on = date(2026, 11, 22)
    assert i18n.about_age(birth, on) == chinese
    assert i18n.about_age(birth, on, "en") == english


def test_a_port_in_use_is_said_in_a_sentence():
    from server.serving import cannot_listen

    text = cannot_listen(Settings(port=8080), OSError(98, "Address already in use"))
    assert "8080" in text
    assert "--port 8081" in text
