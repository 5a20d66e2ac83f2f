"""Anyone who holds the paper can check it; nobody learns anything of the patient; and not too often."""

from __future__ import annotations

import io

import pytest

from consult import model as m
from server import cli, keys
from server.paper.authority import CertificateAuthority
from tests.browser.seeds import put_consultation
from tests.conftest import sign_in
from tests.web.test_report_signing import WORDS, call, signed

PAGE = {"Accept": "text/html"}


@pytest.fixture
async def expert(open_browser, city):
    browser = await open_browser()
    await sign_in(browser, city.expert.login)
    return browser


@pytest.fixture
async def filed(expert, app, city):
    made = await app[keys.WORK].run(put_consultation, city, state=m.State.ACCEPTED, expert=True)
    done = await signed(expert, made.id)
    return done | {"pdf": await app[keys.WORK].read(lambda uow: uow.reports.pdf(done["version"]))}


async def checked(client, data, code=""):
    path = f"/api/verify/{code}" if code else "/api/verify"
    async with client.post(path, data=data, headers={"Content-Type": "application/pdf"}) as answer:
        return answer.status, await answer.json()


async def test_the_page_says_genuine_and_nothing_of_the_patient_or_the_findings(client, filed, city):
    for code in (filed["code"], filed["code"].lower().replace("-", "")):
        async with client.get(f"/verify/{code}", headers=PAGE) as answer:
            text = await answer.text()
            assert answer.status == 200
    assert 'data-verdict="genuine"' in text
    assert "市第一人民医院" in text
    for private in ("周小雨", "1968", WORDS, "窦性心律", "胸痛", "是否需要上转", city.clinic):
        assert private not in text, private


@pytest.mark.parametrize("code", ["AAAA-BBBB-CCCC-DDDD", "x", "' or 1=1 --", "%00", "𝔸" * 16, "A" * 5000])
async def test_an_unknown_code_is_said_to_be_unknown(client, city, code):
    async with client.get("/verify", params={"code": code}, headers=PAGE) as answer:
        assert answer.status == 404
        assert 'data-verdict="unknown"' in await answer.text()


async def test_an_amended_report_is_genuine_but_no_longer_the_one_that_counts(client, expert, filed):
    case = filed["consultation"]
    await call(expert, "post", f"/api/consultations/{case}/amend", {"reason": "更正"})
    second = await signed(expert, case, text="更正后")
    async with client.get(f"/verify/{filed['code']}", headers=PAGE) as answer:
        text = await answer.text()
    assert 'data-verdict="superseded"' in text
    assert "第 2 版" in text
    assert "更正" not in text.replace("更正报告", "")
    async with client.get(f"/verify/{second['code']}", headers=PAGE) as answer:
        assert 'data-verdict="genuine"' in await answer.text()


async def test_the_file_itself_is_checked_byte_for_byte_and_against_its_code(client, filed, app, clock):
    pdf = filed["pdf"]
    status, found = await checked(client, pdf, filed["code"])
    assert (status, found["genuine"], found["matches"], found["newest"]) == (200, True, True, True)
    status, found = await checked(client, pdf, "AAAA-BBBB-CCCC-DDDD")
    assert (found["genuine"], found["matches"]) == (True, None)
    clock.advance(minutes=1)
    for place in (700, len(pdf) // 2, len(pdf) - 3):
        broken = bytearray(pdf)
        broken[place] ^= 1
        _, found = await checked(client, bytes(broken), filed["code"])
        assert (found["genuine"], found["matches"]) == (False, False), place
    _, found = await checked(client, pdf + b"\n%%EOF\n")
    assert (found["genuine"], found["reason"]) == (False, "appended")


async def test_what_is_no_pdf_is_told_and_too_much_is_refused(client, city, clock):
    for data in (b"", b"hello", b"%PDF-1.7\n" + b"\x00" * 5000):
        status, found = await checked(client, data)
        assert (status, found["genuine"]) == (200, False)
    clock.advance(minutes=1)
    status, _ = await checked(client, io.BytesIO(b"x" * ((16 << 20) + 1)))
    assert status == 413


async def test_a_caller_who_tries_codes_has_to_wait(client, city, clock):
    statuses = []
    for _ in range(65):
        async with client.get("/verify/AAAA-BBBB-CCCC-DDDD", headers=PAGE) as answer:
            statuses.append(answer.status)
    assert statuses[:60] == [404] * 60
    assert set(statuses[60:]) == {429}
    clock.advance(seconds=30)
    async with client.get("/verify/AAAA-BBBB-CCCC-DDDD", headers=PAGE) as answer:
        assert answer.status == 404


def test_the_command_verifies_offline_with_the_root_of_the_folder(filed, settings, tmp_path, capsys):
    good, bad = tmp_path / "good.pdf", tmp_path / "bad.pdf"
    good.write_bytes(filed["pdf"])
    bad.write_bytes(filed["pdf"].replace(b"%PDF-1.7", b"%PDF-1.6", 1))
    command = ["report", "verify", str(good), "--data", str(settings.data)]
    assert cli.run(command) == 0
    assert "真实" in capsys.readouterr().out
    assert cli.run(["report", "verify", str(bad), "--data", str(settings.data)]) == 1
    # Elsewhere the root certificate alone is enough.
    away = tmp_path / "away" / "keys"
    away.mkdir(parents=True)
    (away / "root.crt").write_bytes((settings.key_folder / "root.crt").read_bytes())
    assert cli.run([*command[:3], "--data", str(away.parent)]) == 0
    capsys.readouterr()


def test_another_installation_calls_it_foreign(filed, settings, tmp_path, capsys, clock):
    file = tmp_path / "r.pdf"
    file.write_bytes(filed["pdf"])
    CertificateAuthority.open(tmp_path / "other" / "keys", clock=clock)
    assert cli.run(["report", "verify", str(file), "--data", str(tmp_path / "other")]) == 1
    assert "不是本平台签发" in capsys.readouterr().out
