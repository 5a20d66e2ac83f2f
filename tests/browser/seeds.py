"""Consultations put straight into the store, for pages that only show them."""

from __future__ import annotations

from datetime import date, timedelta

from consult import model as m
from consult import patient as p

URGENCY_SPAN = {m.Urgency.STAT: 3, m.Urgency.URGENT: 30, m.Urgency.ROUTINE: 24 * 60}


def put_patient(uow, city, *, name: str = "周小雨", sex: p.Sex = p.Sex.FEMALE, born: date = date(1968, 3, 12)) -> p.Patient:
    patient = p.Patient(
        id=p.PatientId(uow.new_id()), name=name, sex=sex, birth_date=born, pinyin="zhouxiaoyu|zxy",
        registered_by=city.clinic, created_at=uow.now, allergies="青霉素",
    )
    uow.patients.add(patient)
    return patient


def put_consultation(
    uow,
    city,
    *,
    state: m.State = m.State.OFFERED,
    urgency: m.Urgency = m.Urgency.URGENT,
    service: m.Service = m.Service.ECG,
    purpose: str = "胸痛 2 小时",
    name: str = "周小雨",
    minutes_ago: float = 1,
    expert: bool = False,
) -> m.Consultation:
    """From the clinic to the hospital's cardiology pool; `expert`: city.expert takes part."""
    patient = put_patient(uow, city, name=name)
    since = uow.now - timedelta(minutes=minutes_ago)
    due = since + timedelta(minutes=URGENCY_SPAN[urgency])
    consultation = m.Consultation(
        id=m.ConsultationId(uow.new_id()), number=f"HZ20261122-{uow.consultations.next_number(uow.now.date()):04}",
        patient=patient.id, organisation=city.clinic, requested_by=city.doctor.membership, service=service,
        mode=m.Mode.STORED, urgency=urgency, target_organisation=city.hospital, target_specialty="cardiology",
        state=state, state_since=since, created_at=since, submitted_at=since, due_at=due,
    )
    uow.consultations.add(consultation)
    uow.consultations.put_request(
        m.RequestVersion(
            consultation=consultation.id, n=1, content={"purpose": purpose}, saved_by=city.doctor.membership,
            saved_at=since,
        )
    )
    uow.consultations.put_questions(
        consultation.id, [m.Question(consultation=consultation.id, n=1, text="是否需要上转？")]
    )
    uow.consultations.add_participant(
        m.Participant(
            consultation=consultation.id, membership=city.doctor.membership, part=m.Part.REFERRING, since=since
        )
    )
    if state is m.State.OFFERED:
        uow.offers.add(
            m.Offer(
                id=m.OfferId(uow.new_id()), consultation=consultation.id, organisation=city.hospital,
                specialty="cardiology", made_at=since,
                expires_at=since + timedelta(minutes=5) if urgency is m.Urgency.STAT else due,
            )
        )
    if expert:
        uow.consultations.add_participant(
            m.Participant(
                consultation=consultation.id, membership=city.expert.membership, part=m.Part.EXPERT, since=since
            )
        )
    uow.publish("worklist", {"consultation": consultation.id, "state": state})
    return consultation
