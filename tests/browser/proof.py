"""What programs that know nothing of us say of the signed report."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path

from playwright.async_api import Page

from consult import model as m
from dicom.model import Scope
from server.dicomweb.ports import ARCHIVE
from server.filing.archive import uid_of
from tests.browser.playing import Cast
from tests.needs import need_program

FETCH = """async ([study, url]) => {
  const { api } = await import('/static/js/api.js');
  await api('POST', `/api/studies/${study}/open`, {});
  const answer = await fetch(url, { headers: { Accept: 'multipart/related; type="application/dicom"; transfer-syntax=*' } });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return [answer.headers.get('Content-Type'), btoa(text)];
}"""
"""Opens the study (audited), then WADO-RS (PS3.18 §10.4.1.1.2) as the expert's browser may."""


async def run(*command: str | Path) -> tuple[int, str]:
    """Exit status and everything said."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def debian_finds_the_signature_valid(pdf: bytes, folder: Path) -> None:
    """pdfsig of poppler-utils: the signature is valid and covers the whole document."""
    path = folder / "inbox.pdf"
    path.write_bytes(pdf)
    _status, said = await run(need_program("pdfsig", "poppler-utils"), path)
    assert "Signature Validation: Signature is Valid." in said
    assert "Total document signed" in said


async def one_flipped_byte_is_found(pdf: bytes, folder: Path) -> None:
    """`huizhen report verify`, offline: the paper is genuine, and no longer so with one bit changed anywhere."""
    path, data = folder / "held.pdf", folder / "data"
    command = [sys.executable, "-m", "server", "report", "verify", "--data", data, path]
    path.write_bytes(pdf)
    status, said = await run(*command)
    assert status == 0, said
    for at in (len(pdf) // 3, len(pdf) - 40):
        path.write_bytes(pdf[:at] + bytes([pdf[at] ^ 1]) + pdf[at + 1 :])
        status, said = await run(*command)
        assert status == 1, said


async def dcmtk_extracts_the_same_pdf(cast: Cast, page: Page, version: m.ReportVersion, pdf: bytes) -> None:
    """The Encapsulated PDF in the patient's study, fetched as any DICOM client would, holds the inbox's very bytes."""
    sop = uid_of("report", version.id)
    study, series = await _filed(cast, version, sop)
    kind, text = await page.evaluate(FETCH, [study, f"/dicom-web/studies/{study}/series/{series}/instances/{sop}"])
    answer = base64.b64decode(text)
    boundary = kind.split("boundary=")[1].split(";")[0].strip('"').encode()
    part = answer.split(b"--" + boundary)[1]
    body = part[part.index(b"\r\n\r\n") + 4 : -2]
    source, out = cast.folder / "report.dcm", cast.folder / "extracted.pdf"
    source.write_bytes(body)
    status, said = await run(need_program("dcm2pdf", "dcmtk"), source, out)
    assert status == 0, said
    assert out.read_bytes() == pdf


async def _filed(cast: Cast, version: m.ReportVersion, sop: str) -> tuple[str, str]:
    """Study and series of the filed copy, once the filing has been acknowledged."""
    async with asyncio.timeout(20):
        while True:
            filings = await cast.read(lambda uow: uow.reports.filings(version.consultation))
            if any(x.channel == "archive" and x.state == "filed" for x in filings):
                break
            await asyncio.sleep(0.1)
    shares = await cast.read(lambda uow: uow.consultations.shares(version.consultation))
    archive = cast.app[ARCHIVE]
    for share in shares:
        scope = Scope(studies=frozenset({share.study_uid}))
        for series in await asyncio.to_thread(archive.series, scope, share.study_uid):
            rows = await asyncio.to_thread(archive.instances, scope, share.study_uid, series.series_uid)
            if any(row.sop_uid == sop for row in rows):
                return share.study_uid, series.series_uid
    raise AssertionError("the report is not in the patient's study")
