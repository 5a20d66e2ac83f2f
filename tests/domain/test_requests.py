"""The request: typed, saved, sent, returned, completed, withdrawn; and the emergency."""

from datetime import timedelta

import pytest

from consult import model as m
from consult import triage
from consult.access import Action, authorize
from consult.consent import record_consent, withdraw_consent
from consult.errors import Conflict, Invalid, NotAllowed, NotFound, Stale, WrongState
from consult.hisparse import parse_his_text
from consult.material import add_document, end_share, void_document
from consult.patient import Sex
from consult.people import LinkKind, OrgLink, Role
from consult.requesting import (
    Target,
    complete_stat,
    delete_draft,
    resubmit_request,
    save_request,
    start_draft,
    start_stat,
    submit_request,
    take_over_consultation,
    withdraw_request,
)
from tests.domain.world import CENTRE, CLINIC, DIRECT, HOSPITAL, OTHER_HOSPITAL, PLATFORM, VERBAL, World, romanise

S = m.State


def fields(caught) -> set[tuple[str, str]]:
    return {(x[0], x[1]) for x in caught.value.fields}


def save(world: World, case, content=None, questions=("?",), **more):
    return save_request(
        world.uow, actor=world.doctor, consultation=case.id, version=case.version,
        content=content or {}, questions=questions, **more,
    )  # fmt: skip


def test_only_five_things_are_required(world: World) -> None:
    draft = world.draft()
    with pytest.raises(Invalid) as caught:
        submit_request(world.uow, actor=world.doctor, consultation=draft.id)
    assert fields(caught) == {("questions", "required"), ("consent", "required")}
    save(world, draft)
    record_consent(world.uow, actor=world.doctor, consultation=draft.id, given=VERBAL)
    sent = submit_request(world.uow, actor=world.doctor, consultation=draft.id)
    assert (sent.state, sent.target_organisation) == (S.SUBMITTED, HOSPITAL)
    assert sent.submitted_at == world.uow.now


def test_an_imaging_request_goes_to_the_imaging_centre_by_default(world: World) -> None:
    sent = world.submitted(service=m.Service.IMAGING)
    assert sent.target_organisation == CENTRE


def test_a_clinic_nobody_serves_is_told_to_choose(world: World) -> None:
    alone = world.join("alone", PLATFORM, Role.CLINIC_DOCTOR)
    draft = world.complete(world.draft(alone), alone)
    with pytest.raises(Invalid) as caught:
        submit_request(world.uow, actor=alone, consultation=draft.id)
    assert fields(caught) == {("target.organisation", "required")}


def test_a_specialty_request_needs_the_specialty_and_a_direct_one_an_expert(world: World) -> None:
    draft = world.complete(world.draft(target=Target(addressing=m.Addressing.SPECIALTY)))
    with pytest.raises(Invalid) as caught:
        submit_request(world.uow, actor=world.doctor, consultation=draft.id)
    assert fields(caught) == {("target.specialty", "required")}
    named = world.complete(
        world.draft(target=Target(addressing=m.Addressing.EXPERT, membership=world.dispatcher.membership))
    )
    with pytest.raises(Invalid) as caught:
        submit_request(world.uow, actor=world.doctor, consultation=named.id)
    assert fields(caught) == {("target.membership", "not_an_expert")}


def test_a_draft_is_overwritten_and_a_stale_form_is_refused(world: World) -> None:
    draft = world.draft()
    first = save(world, draft, {"complaint": "胸痛"})
    second = save(world, first, {"complaint": "胸痛2小时"})
    assert [x.n for x in world.uow.consultations.requests(draft.id)] == [1]
    with pytest.raises(Stale) as caught:
        save(world, first, {"complaint": "旧"})
    assert caught.value.params == {"version": second.version}
    assert world.uow.consultations.request(draft.id).content == {"complaint": "胸痛2小时"}


def test_saving_the_same_again_changes_nothing(world: World) -> None:
    draft = save(world, world.draft(), {"complaint": "胸痛"})
    assert save(world, draft, {"complaint": "胸痛", "history": ""}) == draft


def test_unknown_or_monstrous_fields_are_refused_by_name(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        save(world, world.draft(), {"nonsense": "x", "complaint": "长" * 2001, "vitals": "36.5"})
    assert fields(caught) == {
        ("content.nonsense", "unknown_field"), ("content.complaint", "too_long"), ("content.vitals", "wrong_kind"),
    }  # fmt: skip


def test_a_sent_request_is_not_edited_behind_the_experts_back(world: World) -> None:
    sent = world.submitted()
    with pytest.raises(WrongState):
        save(world, sent, {"complaint": "另一件事"})


def test_a_returned_request_keeps_every_version_and_goes_back_to_the_dispatcher(world: World) -> None:
    sent = world.submitted()
    returned = triage.return_request(
        world.uow, actor=world.dispatcher, consultation=sent.id, items=[{"item": "心电图"}, {"item": " "}]
    )
    assert (returned.state, [x["item"] for x in returned.missing]) == (S.RETURNED, ["心电图"])
    save(world, returned, {"complaint": "补充"}, questions=("是否心梗?", "如何处理?"))
    back = resubmit_request(world.uow, actor=world.doctor, consultation=sent.id, note="已补")
    assert back.state is S.TRIAGE
    assert [x.n for x in world.uow.consultations.requests(sent.id)] == [1, 2]
    assert world.triggers(sent) == [
        "start_draft", "record_consent", "submit", "receive", "return", "save_request", "resubmit",
    ]  # fmt: skip


def test_an_expert_who_returns_it_gets_it_back(world: World) -> None:
    case = world.accepted()
    triage.return_request(world.uow, actor=world.expert, consultation=case.id, items=[{"item": "化验单"}])
    assert resubmit_request(world.uow, actor=world.doctor, consultation=case.id).state is S.ACCEPTED


def test_only_drafts_are_deleted(world: World) -> None:
    draft = world.draft()
    delete_draft(world.uow, actor=world.doctor, consultation=draft.id)
    with pytest.raises(NotFound):
        world.get(draft)
    with pytest.raises(WrongState):
        delete_draft(world.uow, actor=world.doctor, consultation=world.submitted().id)
    with pytest.raises(NotAllowed):
        delete_draft(world.uow, actor=world.colleague, consultation=world.draft().id)


def test_a_request_is_withdrawn_until_an_expert_has_accepted(world: World) -> None:
    offered = world.offered()
    gone = withdraw_request(world.uow, actor=world.doctor, consultation=offered.id, reason="转院")
    assert gone.state is S.WITHDRAWN
    assert {x.outcome for x in world.uow.offers.of(offered.id)} == {m.OfferOutcome.CANCELLED}
    with pytest.raises(WrongState):
        withdraw_request(world.uow, actor=world.doctor, consultation=world.accepted().id)


def test_numbers_count_up_by_the_local_day(world: World) -> None:
    first, second = world.draft(), world.draft()
    assert [first.number, second.number] == ["HZ20261123-0001", "HZ20261123-0002"]
    world.wait(hours=13)
    assert world.draft().number == "HZ20261124-0001"


def test_no_patient_data_is_told_to_the_browsers(world: World) -> None:
    case = world.acknowledged()
    for topic, payload in world.uow.published:
        assert set(payload) <= {
            "consultation", "state", "offer", "organisation", "report_version", "order", "study", "hidden", "matched",
        }, topic  # fmt: skip
    topics = {x for x, _ in world.uow.published}
    assert {f"consultation:{case.id}", "worklist", "inbox:jiubao"} <= topics


# consent and documents


def test_consent_by_signature_needs_the_signed_document(world: World) -> None:
    draft = world.draft()
    given = world.signature(draft)
    consent = record_consent(world.uow, actor=world.doctor, consultation=draft.id, given=given)
    assert consent.document == given.document
    other = world.draft()
    with pytest.raises(Invalid) as caught:
        record_consent(world.uow, actor=world.doctor, consultation=other.id, given=given)
    assert fields(caught) == {("consent.document", "not_found")}


def test_verbal_consent_needs_two_different_witnesses(world: World) -> None:
    from dataclasses import replace

    draft = world.draft()
    with pytest.raises(Invalid) as caught:
        record_consent(
            world.uow, actor=world.doctor, consultation=draft.id, given=replace(VERBAL, witnesses=("甲", " 甲 "))
        )
    assert fields(caught) == {("consent.witnesses", "two_witnesses")}


def test_withdrawn_consent_is_kept_and_no_longer_counts(world: World) -> None:
    draft = world.complete(world.draft())
    consent = world.uow.consultations.consents(draft.id)[0]
    gone = withdraw_consent(
        world.uow, actor=world.doctor, consultation=draft.id, consent=consent.id, reason="家属改变主意"
    )
    assert gone.withdrawn_at == world.uow.now
    with pytest.raises(Invalid):
        submit_request(world.uow, actor=world.doctor, consultation=draft.id)
    with pytest.raises(WrongState):
        withdraw_consent(world.uow, actor=world.doctor, consultation=draft.id, consent=consent.id, reason="x")


def test_the_same_file_twice_is_one_document_and_a_voided_one_stays_recorded(world: World) -> None:
    draft = world.draft()
    args = {"kind": "paper_ecg", "title": "心电图", "media_type": "image/jpeg", "digest": "a" * 64, "size": 5}
    one = add_document(world.uow, actor=world.doctor, consultation=draft.id, **args)
    assert add_document(world.uow, actor=world.technician, consultation=draft.id, **args) == one
    voided = void_document(world.uow, actor=world.doctor, document=one.id, reason="不是他的")
    assert voided.voided_reason == "不是他的"
    assert add_document(world.uow, actor=world.doctor, consultation=draft.id, **args).id != one.id


def test_a_document_that_holds_a_consent_is_not_voided(world: World) -> None:
    draft = world.draft()
    given = world.signature(draft)
    record_consent(world.uow, actor=world.doctor, consultation=draft.id, given=given)
    with pytest.raises(Conflict):
        void_document(world.uow, actor=world.doctor, document=given.document, reason="x")


# emergency


def test_an_emergency_rings_at_once_for_somebody_without_a_name(world: World) -> None:
    case = start_stat(
        world.uow, actor=world.doctor, patient=None, consent=VERBAL, unknown_sex=Sex.MALE, romanise=romanise
    )
    offer = world.uow.offers.of(case.id)[0]
    assert (case.state, case.urgency, offer.organisation) == (S.OFFERED, m.Urgency.STAT, HOSPITAL)
    assert (offer.expires_at - world.uow.now).total_seconds() == 300
    assert (case.due_at - world.uow.now).total_seconds() == 180
    assert world.uow.patients.get(case.patient).unknown
    accepted = triage.accept_offer(world.uow, actor=world.expert, consultation=case.id)
    assert accepted.state is S.ACCEPTED


def test_the_form_of_an_emergency_is_finished_while_it_goes_on(world: World) -> None:
    case = start_stat(world.uow, actor=world.doctor, patient=None, consent=VERBAL, romanise=romanise)
    running = triage.accept_offer(world.uow, actor=world.expert, consultation=case.id)
    known = world.patient(name="李四")
    done = complete_stat(
        world.uow, actor=world.doctor, consultation=case.id, version=running.version,
        content={"complaint": "胸痛"}, questions=["溶栓?"], patient=known.id,
    )  # fmt: skip
    assert done.patient == known.id
    assert world.uow.patients.get(case.patient).merged_into == known.id
    assert [x.n for x in world.uow.consultations.requests(case.id)] == [1, 2]
    assert done.state is S.ACCEPTED


def test_a_named_expert_is_rung_first_in_an_emergency(world: World) -> None:
    patient = world.patient()
    case = start_stat(
        world.uow, actor=world.doctor, patient=patient.id, consent=VERBAL, target=DIRECT, romanise=romanise
    )
    assert world.uow.offers.of(case.id)[0].membership == world.expert.membership
    world.wait(seconds=59)
    triage.expire_offers(world.uow)
    assert len(world.uow.offers.of(case.id)) == 1
    world.wait(seconds=1)
    assert triage.expire_offers(world.uow) == 0
    named, pool = world.uow.offers.of(case.id)
    assert (named.membership, pool.membership, pool.expires_at) == (world.expert.membership, None, named.expires_at)
    assert {named.outcome, pool.outcome} == {m.OfferOutcome.OPEN}
    still = triage.decline_offer(world.uow, actor=world.expert, consultation=case.id, reason="正在手术")
    assert still.state is S.OFFERED
    assert len(world.uow.offers.of(case.id)) == 2
    assert triage.accept_offer(world.uow, actor=world.second, consultation=case.id).state is S.ACCEPTED


def test_an_emergency_without_consent_does_not_ring(world: World) -> None:
    from dataclasses import replace

    with pytest.raises(Invalid):
        start_stat(
            world.uow, actor=world.doctor, patient=None, consent=replace(VERBAL, witnesses=()), romanise=romanise
        )


# the clinic's colleagues


def test_a_colleague_takes_over_with_a_reason_and_both_stay(world: World) -> None:
    case = world.delivered()
    with pytest.raises(Invalid):
        take_over_consultation(world.uow, actor=world.colleague, consultation=case.id, reason="")
    take_over_consultation(world.uow, actor=world.colleague, consultation=case.id, reason="下班交接")
    for actor in (world.doctor, world.colleague):
        authorize(world.uow, actor, Action.REPORT_READ, world.get(case))
    with pytest.raises(NotAllowed):
        take_over_consultation(world.uow, actor=world.colleague, consultation=case.id, reason="再次")


def test_a_patient_of_another_clinic_cannot_be_asked_for(world: World) -> None:
    with pytest.raises(NotFound):
        start_draft(world.uow, actor=world.other_doctor, patient=world.patient().id)


def test_ending_a_share_that_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        end_share(world.uow, actor=world.doctor, consultation=world.draft().id, study_uid="1.2", reason="x")


# pasted text


def test_pasted_text_is_sorted_under_its_headings_and_nothing_is_lost() -> None:
    text = """张三 男 56岁
主 诉:见下
主诉：胸痛2小时。现病史：患者2小时前出现胸痛。
【既往史】高血压10年。
过敏史:青霉素
1、体格检查：T36.5℃
  BP 150/90mmHg
辅助检查  肌钙蛋白 1.2
初步诊断：1.急性心肌梗死
会诊目的：是否溶栓
随访计划：三天后"""
    found = parse_his_text(text)
    assert found["complaint"] == "胸痛2小时。"
    assert "患者2小时前出现胸痛。" in found["history"]
    assert found["past_history"] == "高血压10年。"
    assert found["allergies"] == "青霉素"
    assert found["examination"] == "T36.5℃\nBP 150/90mmHg"
    assert found["laboratory"] == "肌钙蛋白 1.2"
    assert found["diagnosis_text"] == "1.急性心肌梗死"
    assert found["purpose"].startswith("是否溶栓")
    kept = "".join("".join(found.values()).split())
    for piece in ("张三男56岁", "主诉:见下", "随访计划：三天后"):
        assert piece in kept


def test_text_without_headings_is_history() -> None:
    assert parse_his_text("患者诊断明确\n治疗后好转") == {"history": "患者诊断明确\n治疗后好转"}


def test_every_refusal_has_a_sentence_in_both_languages() -> None:
    import re
    from pathlib import Path

    from babel.messages.pofile import read_po

    from consult import consent, words

    root = Path(__file__).parents[2]
    with (root / "server/locale/en/domain.po").open("rb") as file:
        english = {x.id: x.string for x in read_po(file) if x.id}
    texts = [*words.FIELDS.values(), *words.CONFLICTS.values()]
    texts += [x for one in consent.TEXTS.values() for x in (one.title, one.body)]
    from consult.phrases import phrases

    texts += [x.text for service in m.Service for x in phrases(service)]
    assert {x for x in texts if not english.get(x)} == set()
    reasons = {
        x
        for path in (root / "consult").glob("*.py")
        for x in re.findall(r'Conflict\(reason="([a-z_]+)"', path.read_text(encoding="utf-8"))
        if path.name != "attending.py"
    }
    assert reasons <= set(words.CONFLICTS)


def asked_of(world: World, place, **more) -> m.Consultation:
    """A complete draft to the pool of a place."""
    target = Target(addressing=m.Addressing.POOL, organisation=place)
    return world.complete(world.draft(target=target, **more))


def test_nobody_asks_a_place_with_which_no_agreement_is_in_force(world: World) -> None:
    draft = asked_of(world, OTHER_HOSPITAL)
    today = (world.uow.now + world.uow.rules.utc_offset).date()
    ended = OrgLink(a=OTHER_HOSPITAL, b=CLINIC, kind=LinkKind.ALLIANCE, since=today - timedelta(days=9), until=today)
    world.uow.people.add_link(ended)
    with pytest.raises(Invalid) as caught:
        submit_request(world.uow, actor=world.doctor, consultation=draft.id)
    assert caught.value.fields == (("target.organisation", "not_linked"),)
    assert world.get(draft).state is S.DRAFT
    stranger = Target(addressing=m.Addressing.EXPERT, membership=world.stranger.membership)
    with pytest.raises(Invalid) as caught:
        start_stat(world.uow, actor=world.doctor, patient=None, consent=VERBAL, target=stranger, romanise=romanise)
    assert caught.value.fields == (("target.membership", "not_linked"),)
    world.uow.people.add_link(OrgLink(a=OTHER_HOSPITAL, b=CLINIC, kind=LinkKind.SPECIALTY, since=today))
    assert submit_request(world.uow, actor=world.doctor, consultation=draft.id).state is S.SUBMITTED


def test_an_agreement_with_the_hospital_counts_for_its_centres_and_for_those_it_refers_to(world: World) -> None:
    for place in (HOSPITAL, CENTRE):
        draft = asked_of(world, place)
        assert submit_request(world.uow, actor=world.doctor, consultation=draft.id).state is S.SUBMITTED
    today = (world.uow.now + world.uow.rules.utc_offset).date()
    world.uow.people.add_link(OrgLink(a=OTHER_HOSPITAL, b=HOSPITAL, kind=LinkKind.ALLIANCE, since=today))
    draft = asked_of(world, OTHER_HOSPITAL)
    assert submit_request(world.uow, actor=world.doctor, consultation=draft.id).state is S.SUBMITTED
