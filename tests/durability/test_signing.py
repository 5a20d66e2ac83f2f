"""kill -9 of the real server while a report is signed and filed: one version, its paper and its filings, or nothing."""

from __future__ import annotations

import asyncio
import io

import pydicom
import pytest

from consult import model as m
from dicom.index.reader import IndexReader
from dicom.model import Query, Scope
from dicom.packs.read import PackReader
from server.filing.archive import uid_of
from server.storage import faults
from tests.city import PASSWORD
from tests.durability.house import SIGNED, House, _span
from tests.durability.tab import Cut

UNIT = ("unit_begun", "before_commit", "after_commit_before_publish", "after_commit_before_ack")
RECORDING = (*UNIT, "report_before_record", "report_after_record")
KEYS = ("key_before_fsync", "key_before_rename", "key_before_directory_fsync")
# The signature is acknowledged before the copy goes into the archive: its unit of work is the second one.
FILING = (
    "filing_before_filed", *(f"{x}:2" for x in UNIT), "archive.pack.write.half", "archive.pack.fsync",
    "archive.index.apply", "archive.index.commit", "archive.acknowledge",
)


@pytest.fixture(scope="module")
async def house(tmp_path_factory, launcher):
    """Written reports, ready to be signed."""
    house = House(tmp_path_factory.mktemp("signing"), launcher)
    house.build(cases={m.State.REPORTING: len(RECORDING) + len(FILING) + len(KEYS) + 2})
    house.start()
    await house.browser("expert")
    yield house
    await house.close()


def next_case(house: House) -> str:
    return next(x for x in house.cases[m.State.REPORTING] if state_of(house, x) is m.State.REPORTING)


def state_of(house: House, case: str) -> m.State:
    return house.read(lambda uow: uow.consultations.get(case).state)


async def sign(house: House, case: str) -> None:
    """As the page does; what is answered is acknowledged."""
    draft = house.drafts[case]
    given = {"version": draft.version, "password": PASSWORD}
    answer = await (await house.browser("expert")).call("POST", f"/api/reports/{draft.id}/sign", json=given)
    digest = house.read(lambda uow: uow.reports.version(answer["version"]).pdf_digest)
    house.acknowledged.versions[answer["version"]] = (case, digest)
    house.acknowledged.states[case] = m.State.DELIVERED


async def signed_in_the_end(house: House, case: str) -> None:
    """After the restart: all of it or nothing; signing again where nothing; then in the archive, once."""
    house.inspect()
    if state_of(house, case) not in SIGNED:
        await sign(house, case)
    house.inspect()
    (version,) = house.read(lambda uow: uow.reports.versions(case))
    async with asyncio.timeout(30):
        while not filed(house, case):  # noqa: ASYNC110 another process does it
            await asyncio.sleep(0.05)
    assert archived_papers(house)[uid_of("report", version.id)] == [house.read(lambda uow: uow.reports.pdf(version.id))]
    house.inspect()


def filed(house: House, case: str) -> bool:
    return {x.state for x in house.read(lambda uow: uow.reports.filings(case))} == {"filed"}


def archived_papers(house: House) -> dict[str, list[bytes]]:
    """The PDFs of the encapsulated documents in the archive, by SOP UID."""
    root = house.data / "archive"
    reader, packs = IndexReader(root / "index.sqlite"), PackReader(root)
    found: dict[str, list[bytes]] = {}
    try:
        for row in reader.instances(Scope.everything(), Query(), 1000):
            file = pydicom.dcmread(io.BytesIO(packs.read(*_span(row))))
            pdf = bytes(file.EncapsulatedDocument)[: file.EncapsulatedDocumentLength]
            found.setdefault(row.sop_uid, []).append(pdf)
    finally:
        reader.close()
        packs.close()
    return found


@pytest.mark.parametrize("point", KEYS)
async def test_killed_while_the_signers_key_is_kept_the_next_signature_has_one(house, point):
    """As at somebody's first signature."""
    house.kill()
    for key in (house.data / "keys" / "signers").glob("*"):
        key.unlink()
    house.start()
    await killed_while_signing(house, point)


@pytest.mark.parametrize("point", RECORDING)
async def test_killed_while_a_report_is_signed(house, point):
    await killed_while_signing(house, point)


async def killed_while_signing(house: House, point: str) -> None:
    case = next_case(house)
    house.arm(point)
    with pytest.raises(Cut):
        await sign(house, case)
    house.wait_dead()
    house.start()
    await signed_in_the_end(house, case)


@pytest.mark.parametrize("point", FILING)
async def test_killed_while_the_copy_is_filed(house, point):
    case = next_case(house)
    name, _, nth = point.partition(":")
    house.arm(name, int(nth or 1))
    try:
        await sign(house, case)
    except Cut:
        pass            # a periodic unit of work may have come first
    house.wait_dead()
    house.start()
    await signed_in_the_end(house, case)


def test_every_point_of_signing_and_filing_is_tried_here():
    named = {p for p in faults.POINTS if p.startswith(("report_", "filing_", "key_"))}
    assert named == {x for x in (*KEYS, *RECORDING, *FILING) if x.startswith(("report_", "filing_", "key_"))}
