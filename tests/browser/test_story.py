"""The first consultation: clinic → expert → signed report back in the clinic, in three browsers, on real images."""

from __future__ import annotations

import pytest

from tests.browser import acts, proof
from tests.browser.material import ct_study, ecg_study
from tests.browser.playing import perform, until
from tests.city import PASSWORD
from tests.realtime.stage import flows

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
async def cast(tmp_path, passwords, lang):
    async with perform(tmp_path, passwords, lang=lang) as cast:
        cast.expected.append("willReadFrequently")  # only because the test reads the canvas
        yield cast


async def ask(cast, *, live):
    """The clinic: patient, questions, a paper, the patient's drawn signature; ends on the request form."""
    doctor = await cast.enter("clinic", cast.city.doctor)
    case = await acts.register_and_begin(cast, doctor)
    await acts.write_request(cast, doctor, live=live)
    return doctor, case


async def ask_with_images(cast, *, live):
    """And the technician: two orders, two uploads, matched by their accession numbers; then the request is sent."""
    doctor, case = await ask(cast, live=live)
    technician = await cast.enter("tech", cast.city.technician)
    ct = ct_study(cast.folder / "usb", await acts.order_exam(cast, technician, "CT"))
    ecg = ecg_study(cast.folder / "usb", await acts.order_exam(cast, technician, "ECG"))
    await acts.upload(cast, technician, [*ct.files, *ecg.files], studies=2)
    await acts.include_studies(doctor, 2)
    await acts.submit(cast, doctor)
    return doctor, technician, case, ct, ecg


async def meet(cast, doctor, expert, case):
    """The room: both see and hear each other."""
    await acts.enter_room(cast, doctor, "clinic", case)
    await acts.enter_room(cast, expert, "expert", case)
    for page in (doctor, expert):
        await flows(page)
        await cast.look(page)


@pytest.mark.parametrize("lang", ["zh"])
async def test_a_patient_goes_from_the_request_to_the_report_in_the_inbox_live(cast):
    doctor, technician, case, ct, ecg = await ask_with_images(cast, live=True)

    # the expert: accepts, reads
    expert = await cast.enter("expert", cast.city.expert, size=(1920, 1080))
    await acts.accept(cast, expert, case)
    await acts.open_study(cast, expert, "CT")
    await acts.ct_as_in_the_file(expert, ct.files)
    await expert.go_back()
    await acts.open_study(cast, expert, "ECG")
    await acts.ecg_as_in_the_file(expert, ecg.files[0])

    await expert.set_viewport_size({"width": 1366, "height": 768})

    await meet(cast, doctor, expert, case)

    # an image into the report beside the video, and the end of the session
    await acts.put_into_report(expert)
    await acts.finish(cast, expert)
    await until(doctor, "window.room.stage === 'ended'")

    # the report, signed with the password
    await acts.write_report(cast, expert, case)
    assert await expert.locator(".report-images li").count() == 1
    await acts.sign(cast, expert, PASSWORD)

    # the clinic's inbox; the expert sees that it was read
    pdf = await acts.read_and_acknowledge(cast, doctor, case)
    assert await cast.state(case.id) == "acknowledged"
    await expert.reload()
    await expert.locator("#report-fate", has_text=cast.say("已签收")).wait_for()

    # what strangers' tools say of the paper
    version = (await cast.read(lambda uow: uow.reports.versions(case.id)))[-1]
    await proof.debian_finds_the_signature_valid(pdf, cast.folder)
    await proof.one_flipped_byte_is_found(pdf, cast.folder)
    await proof.dcmtk_extracts_the_same_pdf(cast, expert, version, pdf)
    await technician.goto(cast.url("tech", f"/verify/{version.code}"))
    await technician.locator("#verdict[data-verdict=genuine]").wait_for()
    assert acts.PERSON["name"] not in await technician.inner_text("body")


@pytest.mark.parametrize("lang", ["en"])
async def test_a_patient_goes_from_the_request_to_the_report_by_store_and_forward_in_english(cast):
    doctor, _technician, case, ct, ecg = await ask_with_images(cast, live=False)

    # the expert, alone with the images, whenever there is time
    expert = await cast.enter("expert", cast.city.expert, size=(1920, 1080))
    await acts.accept(cast, expert, case)
    await acts.start_reading(cast, expert)
    await acts.open_study(cast, expert, "ECG")
    await acts.ecg_as_in_the_file(expert, ecg.files[0])
    await cast.look(expert)
    await acts.back_to_consultation(cast, expert)
    await acts.open_study(cast, expert, "CT")
    await acts.ct_as_in_the_file(expert, ct.files)
    await acts.keep_image(cast, expert)
    await acts.back_to_consultation(cast, expert)
    await acts.write_report(cast, expert, case)
    assert await expert.locator(".report-images li").count() == 1
    await acts.sign(cast, expert, PASSWORD)

    pdf = await acts.read_and_acknowledge(cast, doctor, case)
    assert await cast.state(case.id) == "acknowledged"
    await expert.locator("#report-fate", has_text=cast.say("已签收")).wait_for()
    await proof.debian_finds_the_signature_valid(pdf, cast.folder)


@pytest.mark.parametrize("lang", ["en"])
async def test_a_live_consultation_without_images_goes_from_the_request_to_the_inbox_in_english(cast):
    doctor, case = await ask(cast, live=True)
    await acts.submit(cast, doctor)
    expert = await cast.enter("expert", cast.city.expert)
    await acts.accept(cast, expert, case)
    await meet(cast, doctor, expert, case)
    await acts.finish(cast, expert)
    await until(doctor, "window.room.stage === 'ended'")
    for page in (doctor, expert):
        await cast.look(page)
    await acts.write_report(cast, expert, case)
    await acts.sign(cast, expert, PASSWORD)
    await acts.read_and_acknowledge(cast, doctor, case)
    assert await cast.state(case.id) == "acknowledged"
