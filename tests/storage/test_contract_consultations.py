"""consult.ports.Consultations and Offers on the fakes, SQLite and PostgreSQL."""

from dataclasses import replace
from datetime import date

import pytest

from consult import model as m
from consult.errors import Conflict, NotFound, Stale, WrongState
from consult.ports import WorklistQuery
from tests.storage import samples as s


def test_a_consultation_with_every_field_is_read_back_equal(store):
    store.run(s.with_consultation)
    whole = s.consultation(
        "c2", participation=m.Participation.MDT, addressing=m.Addressing.EXPERT, urgency=m.Urgency.STAT,
        target_organisation=s.HOSPITAL, target_specialty="心内", target_membership=s.EXPERT,
        state=m.State.AWAITING_MATERIAL, resume_to=m.State.REPORTING, submitted_at=s.after(minutes=1),
        due_at=s.after(hours=1), scheduled_at=s.after(days=1), missing=({"item": "心电图", "due": "2026-11-21"},),
        replaces="c1", hidden_studies=("2.25.7",),
    )  # fmt: skip
    store.run(lambda u: u.consultations.add(whole))
    assert store.read(lambda u: u.consultations.get("c2")) == whole
    assert store.read(lambda u: u.consultations.by_number("HZ-c2")) == whole
    assert store.read(lambda u: u.consultations.by_number("HZ-c3")) is None
    assert {x.id for x in store.read(lambda u: u.consultations.of_patient(s.PATIENT))} == {"c1", "c2"}
    with pytest.raises(NotFound):
        store.read(lambda u: u.consultations.get("c3"))


def test_two_consultations_never_share_a_number_or_id(store):
    store.run(s.with_consultation)
    with pytest.raises(Conflict):
        store.run(lambda u: u.consultations.add(s.consultation("c2", number="HZ-c1")))
    with pytest.raises(Conflict):
        store.run(lambda u: u.consultations.add(s.consultation("c1", number="HZ-c9")))


def test_of_two_who_save_the_same_version_the_second_is_stale(store):
    store.run(s.with_consultation)
    read = store.read(lambda u: u.consultations.get("c1"))
    first = store.run(lambda u: u.consultations.save(replace(read, state=m.State.SUBMITTED)))
    assert first.version == 1
    with pytest.raises(Stale):
        store.run(lambda u: u.consultations.save(replace(read, state=m.State.WITHDRAWN)))
    assert store.read(lambda u: u.consultations.get("c1")) == first
    with pytest.raises(NotFound):
        store.run(lambda u: u.consultations.save(replace(read, id="c9", number="HZ-9")))


def test_numbers_count_from_one_on_every_day(store):
    monday, tuesday = date(2026, 11, 23), date(2026, 11, 24)
    numbers = [store.run(lambda u, day=day: u.consultations.next_number(day)) for day in (monday, monday, tuesday)]
    assert numbers == [1, 2, 1]
    accessions = [
        store.run(lambda u, issuer=issuer: u.studies.next_accession(issuer, monday))
        for issuer in (s.CLINIC, s.CLINIC, s.HOSPITAL)
    ]
    assert accessions == [1, 2, 1]


def form(n=1, **content):
    return m.RequestVersion(consultation="c1", n=n, content=content, saved_by=s.DOCTOR, saved_at=s.after(minutes=n))


def test_a_draft_request_is_overwritten_and_later_versions_are_kept(store):
    store.run(s.with_consultation)
    assert store.read(lambda u: u.consultations.request("c1")) is None
    store.run(lambda u: u.consultations.put_request(form(purpose="一")))
    better = form(purpose="二", vitals=[{"bp": "120/80", "at": None, "ok": True, "t": 36.5}])
    store.run(lambda u: u.consultations.put_request(better))
    assert store.read(lambda u: u.consultations.request("c1")) == better
    draft = store.read(lambda u: u.consultations.get("c1"))
    store.run(lambda u: u.consultations.save(replace(draft, state=m.State.SUBMITTED)))
    with pytest.raises(Conflict):
        store.run(lambda u: u.consultations.put_request(form(purpose="三")))
    store.run(lambda u: u.consultations.put_request(form(2, purpose="三")))
    assert [x.n for x in store.read(lambda u: u.consultations.requests("c1"))] == [1, 2]
    assert store.read(lambda u: u.consultations.request("c1")).content["purpose"] == "三"


def test_questions_are_replaced_as_a_whole(store):
    store.run(s.with_consultation)
    first = [m.Question(consultation="c1", n=n, text=f"问{n}") for n in (1, 2, 3)]
    store.run(lambda u: u.consultations.put_questions("c1", first))
    assert list(store.read(lambda u: u.consultations.questions("c1"))) == first
    store.run(lambda u: u.consultations.put_questions("c1", first[:1]))
    assert list(store.read(lambda u: u.consultations.questions("c1"))) == first[:1]


def test_consent_is_kept_and_withdrawn_with_a_reason(store):
    store.run(s.with_consultation)
    store.run(lambda u: u.consultations.add_document(s.document(kind="consent")))
    consent = m.Consent(
        id="n1", consultation="c1", text_version="2026-1", signer="张", relation="本人", mode=m.ConsentMode.SCAN,
        scopes=("consultation", "teaching"), witnesses=("甲", "乙"), document="d1", given_at=s.T0,
        recorded_by=s.DOCTOR,
    )  # fmt: skip
    store.run(lambda u: u.consultations.add_consent(consent))
    assert list(store.read(lambda u: u.consultations.consents("c1"))) == [consent]
    store.run(lambda u: u.consultations.withdraw_consent("n1", at=s.after(days=1), reason="反悔"))
    withdrawn = replace(consent, withdrawn_at=s.after(days=1), withdrawn_reason="反悔")
    assert list(store.read(lambda u: u.consultations.consents("c1"))) == [withdrawn]
    with pytest.raises(NotFound):
        store.run(lambda u: u.consultations.withdraw_consent("n9", at=s.T0, reason=""))


def test_a_document_is_voided_never_deleted(store):
    store.run(s.with_consultation)
    store.run(lambda u: u.consultations.add_document(s.document(pages=3)))
    store.run(lambda u: u.consultations.void_document("d1", at=s.after(days=1), reason="错"))
    voided = s.document(pages=3, voided_at=s.after(days=1), voided_reason="错")
    assert store.read(lambda u: u.consultations.document("d1")) == voided
    assert list(store.read(lambda u: u.consultations.documents("c1"))) == [voided]
    for act in (
        lambda u: u.consultations.document("d9"),
        lambda u: u.consultations.void_document("d9", at=s.T0, reason=""),
    ):
        with pytest.raises(NotFound):
            store.run(act)


def test_a_membership_takes_a_part_once_at_a_time(store):
    store.run(s.with_consultation)
    store.run(lambda u: u.consultations.add_participant(s.participant()))
    with pytest.raises(Conflict):
        store.run(lambda u: u.consultations.add_participant(s.participant(since=s.after(hours=1))))
    store.run(lambda u: u.consultations.add_participant(s.participant(part=m.Part.GUEST)))
    store.run(lambda u: u.consultations.end_participant("c1", s.DOCTOR, m.Part.REFERRING, at=s.after(hours=2)))
    assert {x.part for x in store.read(lambda u: u.consultations.participants("c1"))} == {m.Part.GUEST}
    store.run(lambda u: u.consultations.add_participant(s.participant(since=s.after(hours=3))))
    ended = s.participant(until=s.after(hours=2))
    assert ended in store.read(lambda u: u.consultations.participants("c1", past=True))
    assert len(store.read(lambda u: u.consultations.participants("c1", past=True))) == 3


def test_invitations_are_the_open_parts_that_end_by_themselves(store):
    store.run(s.with_consultation)
    early, late = s.after(hours=1), s.after(hours=2)
    for membership, end in ((s.COLLEAGUE, late), (s.EXPERT, early)):
        guest = s.participant(membership, m.Part.GUEST, expires_at=end, invited_by=s.DOCTOR)
        store.run(lambda u, guest=guest: u.consultations.add_participant(guest))
    store.run(lambda u: u.consultations.add_participant(s.participant()))

    def who(**wanted):
        return [x.membership for x in store.read(lambda u: u.consultations.invitations(**wanted))]

    assert who() == [s.EXPERT, s.COLLEAGUE]
    assert who(before=early) == [s.EXPERT]
    assert who(membership=s.COLLEAGUE) == [s.COLLEAGUE]
    assert who(membership=s.DOCTOR) == []

    def as_guest(membership):
        return [x.id for x in store.read(lambda u: u.consultations.as_guest(membership))]

    assert as_guest(s.EXPERT) == ["c1"]
    assert as_guest(s.DOCTOR) == []
    store.run(lambda u: u.consultations.end_participant("c1", s.EXPERT, m.Part.GUEST, at=early))
    assert who() == [s.COLLEAGUE]
    assert as_guest(s.EXPERT) == []


def test_ending_a_part_or_share_nobody_holds_does_nothing(store):
    store.run(s.with_consultation)
    store.run(lambda u: u.consultations.end_participant("c1", s.DOCTOR, m.Part.EXPERT, at=s.T0))
    store.run(lambda u: u.consultations.end_share("c1", "2.25.1", at=s.T0))
    assert list(store.read(lambda u: u.consultations.participants("c1", past=True))) == []
    assert list(store.read(lambda u: u.consultations.shares("c1", past=True))) == []


def test_a_study_is_shared_once_at_a_time_and_names_its_consultations(store):
    store.run(s.with_consultation)
    share = m.StudyShare(consultation="c1", study_uid="2.25.1", by=s.DOCTOR, since=s.T0)
    store.run(lambda u: u.consultations.add_share(share))
    with pytest.raises(Conflict):
        store.run(lambda u: u.consultations.add_share(share))
    assert [x.id for x in store.read(lambda u: u.consultations.sharing("2.25.1"))] == ["c1"]
    store.run(lambda u: u.consultations.end_share("c1", "2.25.1", at=s.after(hours=1)))
    assert list(store.read(lambda u: u.consultations.sharing("2.25.1"))) == []
    assert list(store.read(lambda u: u.consultations.shares("c1"))) == []
    assert list(store.read(lambda u: u.consultations.shares("c1", past=True))) == [
        replace(share, until=s.after(hours=1))
    ]


def test_only_a_draft_may_be_deleted(store):
    def fill(uow):
        s.with_consultation(uow)
        uow.consultations.put_request(form(purpose="x"))
        uow.consultations.put_questions("c1", [m.Question(consultation="c1", n=1, text="?")])
        uow.consultations.add_participant(s.participant())
        uow.consultations.add_document(s.document())
        uow.consultations.mark_read("c1", s.DOCTOR, at=s.T0)
        uow.consultations.add_share(m.StudyShare(consultation="c1", study_uid="2.25.1", by=None, since=s.T0))
        s.with_consultation(uow, "c2", state=m.State.SUBMITTED)

    store.run(fill)
    store.run(lambda u: u.consultations.delete_draft("c1"))
    with pytest.raises(NotFound):
        store.read(lambda u: u.consultations.get("c1"))
    with pytest.raises(WrongState):
        store.run(lambda u: u.consultations.delete_draft("c2"))
    with pytest.raises(NotFound):
        store.run(lambda u: u.consultations.delete_draft("c9"))


def test_due_consultations_come_with_the_oldest_deadline_first(store):
    def fill(uow):
        for n, minutes in enumerate((30, 10, 20, None, 40)):
            due = None if minutes is None else s.after(minutes=minutes)
            s.with_consultation(uow, f"c{n}", due_at=due)
        s.with_consultation(uow, "c9", due_at=s.T0, state=m.State.FEEDBACK)

    store.run(fill)
    found = store.read(lambda u: u.consultations.due_before(s.after(minutes=30)))
    assert [x.id for x in found] == ["c1", "c2", "c0"]
    assert [x.id for x in store.read(lambda u: u.consultations.due_before(s.after(days=1), limit=1))] == ["c1"]


def test_an_offer_is_versioned_and_listed(store):
    store.run(s.with_consultation)
    offer = s.offer(membership=s.EXPERT, specialty="心内", made_by=s.DOCTOR)
    store.run(lambda u: (u.offers.add(offer), u.offers.add(s.offer("f2", made_at=s.after(minutes=1)))))
    assert store.read(lambda u: u.offers.get("f1")) == offer
    assert [x.id for x in store.read(lambda u: u.offers.of("c1"))] == ["f1", "f2"]
    closed = replace(
        offer, outcome=m.OfferOutcome.DECLINED, closed_by=s.EXPERT, closed_at=s.after(minutes=2), reason="忙"
    )
    assert store.run(lambda u: u.offers.save(closed)) == replace(closed, version=1)
    with pytest.raises(Stale):
        store.run(lambda u: u.offers.save(closed))
    with pytest.raises(Conflict):
        store.run(lambda u: u.offers.add(offer))
    with pytest.raises(NotFound):
        store.read(lambda u: u.offers.get("f9"))


def test_only_open_offers_expire(store):
    def fill(uow):
        s.with_consultation(uow)
        for n, minutes in enumerate((30, 10, 60)):
            uow.offers.add(s.offer(f"f{n}", expires_at=s.after(minutes=minutes)))
        uow.offers.add(
            s.offer("f9", expires_at=s.after(minutes=1), outcome=m.OfferOutcome.ACCEPTED, closed_at=s.T0)
        )

    store.run(fill)
    assert [x.id for x in store.read(lambda u: u.offers.expired(s.after(minutes=30)))] == ["f1", "f0"]
    assert [x.id for x in store.read(lambda u: u.offers.expired(s.after(minutes=30), limit=1))] == ["f1"]


def test_what_rests_in_a_state_comes_with_the_longest_first(store):
    def fill(uow):
        for n, days in enumerate((3, 1, 2, 9)):
            s.with_consultation(uow, f"c{n}", state=m.State.ACKNOWLEDGED, state_since=s.after(days=days))
        s.with_consultation(uow, "c9", state=m.State.FEEDBACK, state_since=s.T0)

    store.run(fill)

    def resting(state, **span):
        return [x.id for x in store.read(lambda u: u.consultations.resting(state, s.after(**span)))]

    assert resting(m.State.ACKNOWLEDGED, days=3) == ["c1", "c2", "c0"]
    assert resting(m.State.FEEDBACK, days=3) == ["c9"]
    assert [x.id for x in store.read(lambda u: u.consultations.resting(m.State.ACKNOWLEDGED, s.after(days=3), limit=1))] == ["c1"]


def test_a_row_says_what_part_the_viewer_has(store):
    def fill(uow):
        s.with_consultation(uow)
        for membership, part in ((s.DOCTOR, m.Part.REFERRING), (s.DOCTOR, m.Part.GUEST), (s.COLLEAGUE, m.Part.GUEST)):
            present = {(x.membership, x.part) for x in uow.consultations.participants("c1")}
            if (membership, part) not in present:
                uow.consultations.add_participant(
                    m.Participant(consultation="c1", membership=membership, part=part, since=s.after(hours=0))
                )

    store.run(fill)

    def part(viewer):
        query = WorklistQuery(organisation=s.CLINIC)
        (row,) = store.run(lambda u: u.consultations.worklist(query, viewer=viewer))
        return row.part, row.mine

    assert part(s.AS_DOCTOR) == (m.Part.REFERRING, True)
    assert part(s.AS_COLLEAGUE) == (m.Part.GUEST, True)
    store.run(lambda u: u.consultations.end_participant("c1", s.COLLEAGUE, m.Part.GUEST, at=s.after(hours=1)))
    assert part(s.AS_COLLEAGUE) == (None, False)


def test_news_that_changes_no_state_turns_a_row_unread_for_one_person(store):
    def fill(uow):
        s.with_consultation(uow)
        for membership in (s.DOCTOR, s.COLLEAGUE):
            uow.consultations.mark_read("c1", membership, at=s.after(hours=1))
        uow.consultations.mark_unread("c1", s.DOCTOR)

    store.run(fill)

    def unread(viewer):
        query = WorklistQuery(organisation=s.CLINIC)
        return [x.unread for x in store.run(lambda u: u.consultations.worklist(query, viewer=viewer))]

    assert unread(s.AS_DOCTOR) == [True]
    assert unread(s.AS_COLLEAGUE) == [False]
