"""What a modality is told to do next: every open order of its place, today's first look included."""

import uuid
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from consult import model as m
from dicom.network.ports import Device
from server import keys
from server.dimse import scheduled as module
from server.dimse.scheduled import scheduled
from server.romanise import romanise
from tests.browser.seeds import put_patient

ZONE = ZoneInfo("Asia/Shanghai")


@pytest.fixture
async def patient(app, city):
    def known(uow):
        found = put_patient(uow, city, name="长孙无忌")
        return uow.patients.save(replace(found, pinyin=romanise(found.name)))

    return await app[keys.WORK].run(known)


@pytest.fixture
def put(app, city, clock, patient):
    """`await put(n, **changes)`: an order with accession number A<n>."""

    async def one(n: int, *, ago=timedelta(), **changes) -> m.ExamOrder:
        order = m.ExamOrder(**{
            "id": m.OrderId(str(uuid.uuid4())), "issuer": city.clinic, "accession": f"A{n}", "patient": patient.id,
            "ordering": city.clinic, "performing": city.clinic, "ordered_by": city.doctor.membership,
            "procedure": "胸部 CT 平扫", "modality": "CT", "at": clock() - ago, **changes,
        })  # fmt: skip
        await app[keys.WORK].run(lambda uow: uow.studies.add_order(order))
        return order

    return one


@pytest.fixture
def told(app, city):
    """`await told(**of the device)`: accession number → item."""

    async def ask(**about):
        device = Device(id="d", organisation=city.clinic, called="HUIZHEN", calling="CT1", **about)
        items = await app[keys.WORK].read(scheduled, device=device, zone=ZONE)
        return {item.text(0x00080050): item for item in items}

    return ask


async def test_only_what_is_to_be_done_here_is_told(app, city, clock, put, told):
    await put(1)
    await put(2, voided_at=clock(), voided_reason="重复")
    await put(3, performing=city.hospital, issuer=city.hospital)
    await put(4, modality="DX")
    await put(5, ago=timedelta(days=15))
    matched = await put(6)
    match = m.StudyMatch(
        id="match", study_uid="1.2.3", organisation=city.clinic, patient=matched.patient, order=matched.id,
        method=m.MatchMethod.ACCESSION, by=None, at=clock(),
    )  # fmt: skip
    await app[keys.WORK].run(lambda uow: uow.studies.add_match(match))
    assert set(await told()) == {"A1", "A4"}
    assert set(await told(modalities=frozenset({"CT"}))) == {"A1"}
    await app[keys.WORK].run(lambda uow: uow.studies.void_match("match", by=None, at=clock(), reason="认错了"))
    assert set(await told()) == {"A1", "A4", "A6"}


async def test_orders_behind_a_thousand_others_are_told_and_a_longer_list_is_said(put, told, monkeypatch, caplog):
    await put(0, ago=timedelta(days=2))
    for n in range(1, 12):
        await put(n, modality="US")
    monkeypatch.setattr(module, "MOST", 10)
    assert set(await told(modalities=frozenset({"CT"}))) == {"A0"}
    assert not caplog.records
    longest = set(await told())
    assert len(longest) == 10
    assert "A0" not in longest                              # but what came today is
    assert "worklist is longer than it is told" in caplog.text


async def test_an_open_order_is_due_today_until_it_is_done_and_its_name_is_read_as_a_surname_is(clock, put, told):
    await put(1)
    await put(2, ago=timedelta(days=3))
    items = await told()
    steps = {name: item.items(0x00400100)[0] for name, item in items.items()}
    today = clock().astimezone(ZONE)
    assert {step.text(0x00400002) for step in steps.values()} == {f"{today:%Y%m%d}"}
    assert (steps["A1"].text(0x00400003), steps["A2"].text(0x00400003)) == (f"{today:%H%M%S}", "000000")
    assert items["A1"].text(0x00100010) == "Zhangsun^Wuji=长孙^无忌"
