"""From what the clinical side froze to what the paper prints: names of certainty, ages, pictures by their digest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, timezone, tzinfo
from typing import Any

from consult import model as m
from consult.errors import Invalid, NotFound
from consult.patient import Sex
from consult.people import MembershipId
from consult.ports import UnitOfWork
from server.i18n import about_age, age
from server.paper.content import (
    Diagnosis,
    Institution,
    KeyImage,
    PatientBlock,
    QuestionAnswer,
    ReportContent,
    SignerLine,
)

ReadBlob = Callable[[str], bytes]
UNFILLED = "【尚未填写】"
"""On a preview, where a signed report could not be without words. The paper's labels are Chinese."""


def signer_line(uow: UnitOfWork, membership: MembershipId, part: m.Part) -> SignerLine:
    """How one signer stands on the paper."""
    found = uow.people.membership(membership)
    staff = uow.people.staff(found.staff)
    return SignerLine(
        name=staff.name,
        title=staff.title,
        licence=staff.licence,
        organisation=uow.people.organisation(found.organisation).name,
        part=part,
    )


def on_the_clock(moment: datetime, zone: tzinfo) -> datetime:
    """The moment on the wall clock of `zone`, with the offset it has there then (a PDF's dates know no zone names)."""
    local = moment.astimezone(zone)
    offset = local.utcoffset()
    return local if offset is None else local.replace(tzinfo=timezone(offset))


def _key_image(entry: Mapping[str, Any], read_blob: ReadBlob) -> KeyImage:
    return KeyImage(
        caption=str(entry.get("caption", "")),
        data=read_blob(entry["document"]),
        study_uid=str(entry.get("study_uid", "")),
        sop_uid=str(entry.get("sop_uid", "")),
        frame=int(entry.get("frame", 1)),
    )


def report_content(
    content: Mapping[str, Any],
    *,
    n: int,
    status: m.ReportStatus,
    reason: str,
    code: str,
    verify_url: str,
    issued_at: datetime,
    signers: tuple[SignerLine, ...],
    read_blob: ReadBlob,
    zone: tzinfo,
    demo: bool,
    missing: Collection[str] = (),
) -> ReportContent:
    """The paper of a frozen report (consult/signing.py, `frozen_content`). Clinical text stays as it was typed.

    An appended version prints what it adds after the findings. The paper's labels are Chinese: it is handed out here.
    `missing`: fields of a preview that nobody has filled in yet, by path; they are marked as such.
    Raises Invalid where a date, an answer or a picture of the draft cannot be read.
    """
    try:
        follow_up = date.fromisoformat(content["follow_up"]) if content.get("follow_up") else None
    except ValueError:
        raise Invalid(("follow_up", "bad_date")) from None
    try:
        images = tuple(_key_image(x, read_blob) for x in content.get("key_images", ()))
    except (KeyError, TypeError, ValueError, NotFound):
        raise Invalid(("key_images", "unusable_image")) from None
    header = content["header"]
    patient = header["patient"]
    birth = date.fromisoformat(patient["birth_date"]) if patient["birth_date"] else None
    estimated = bool(patient.get("birth_estimated"))
    answers = {x.get("n"): str(x.get("text", "")) for x in content.get("answers", ())}
    answers |= {x["n"]: UNFILLED for x in content.get("questions", ()) if f"answers.{x['n']}" in missing}
    diagnoses = [
        Diagnosis(
            text=str(x.get("name", "")), icd10=str(x.get("code", "")), certainty=str(x.get("certainty", ""))
        )
        for x in content.get("diagnosis", ())
    ]
    if content.get("diagnosis_text"):
        diagnoses.append(Diagnosis(text=content["diagnosis_text"]))
    findings = UNFILLED if "findings" in missing else content.get("findings", "")
    addendum = UNFILLED if "addendum" in missing else content.get("addendum", "")
    if addendum:
        findings = "\n\n".join(filter(None, (findings, addendum)))
    return ReportContent(
        number=header["number"],
        version=n,
        status=status,
        reason=reason,
        requesting=Institution(name=header["requesting"]["name"], department=header["requesting"]["department"]),
        serving=Institution(name=header["serving"]["name"], department=header["serving"]["department"]),
        patient=PatientBlock(
            name=patient["name"],
            sex=Sex(patient["sex"]),
            age=(about_age if estimated else age)(birth, issued_at.astimezone(zone), "zh"),
            birth_date=None if estimated else birth,
            document_last_four=patient["document_last_four"],
            card=patient["card"],
        ),
        service=m.Service(header["service"]),
        urgency=m.Urgency(header["urgency"]),
        requested_at=on_the_clock(datetime.fromisoformat(header["requested_at"]), zone),
        issued_at=on_the_clock(issued_at, zone),
        clinic_doctor=header["clinic_doctor"],
        questions=tuple(
            QuestionAnswer(number=x["n"], question=x["text"], answer=answers.get(x["n"], ""))
            for x in content.get("questions", ())
        ),
        materials=content.get("materials", ""),
        findings=findings,
        diagnoses=tuple(diagnoses),
        advice=content.get("advice", ""),
        further_tests=content.get("further_tests", ""),
        referral_advice=content.get("referral_advice", ""),
        follow_up=follow_up,
        critical=bool(content.get("critical")),
        limits=content.get("limits", ""),
        key_images=images,
        signers=signers,
        code=code,
        verify_url=verify_url,
        demo=demo,
    )
