"""The report: written, signed in two halves, revised, delivered, acknowledged, verified."""

import hashlib
from dataclasses import replace
from itertools import pairwise

import pytest

from consult import model as m
from consult import triage
from consult.errors import Conflict, Invalid, NotAllowed, NotFound, Stale, WrongState
from consult.forms import FORM_FIELDS, REPORT_FIELDS
from consult.phrases import phrases
from consult.registering import update_patient
from consult.reporting import (
    SignedBy,
    acknowledge_report,
    amend_report,
    append_report,
    approve_report,
    ask_reviewer,
    describe_code,
    drop_revision,
    mark_report_read,
    open_report,
    prepare_signing,
    read_report_version,
    record_signed,
    save_report,
)
from consult.requesting import take_over_consultation
from consult.reviewing import review_of, withdraw_reviewer
from consult.rules import Rules
from consult.signing import canonical
from consult.timeline import timeline
from tests.domain.world import World, romanise

S = m.State


def draft_of(world: World, case, by=None) -> m.Report:
    return open_report(world.uow, actor=by or world.expert, consultation=case.id)


def save(world: World, draft: m.Report, content, by=None) -> m.Report:
    return save_report(
        world.uow, actor=by or world.expert, report=draft.id, version=draft.version, content=content
    )


def test_store_and_forward_works_from_request_to_acknowledgement(world: World) -> None:
    case = world.acknowledged()
    assert case.state is S.ACKNOWLEDGED
    assert world.triggers(case) == [
        "start_draft", "record_consent", "submit", "receive", "offer", "accept", "start_review", "start_report",
        "sign", "deliver", "acknowledge",
    ]  # fmt: skip
    version = world.uow.reports.versions(case.id)[0]
    assert (version.n, version.status) == (1, m.ReportStatus.FINAL)
    assert world.uow.reports.pdf(version.id) == b"%PDF-1.7 signed"


def test_opening_the_editor_twice_is_one_draft(world: World) -> None:
    case = world.accepted()
    assert draft_of(world, case) == draft_of(world, case)
    assert world.get(case).state is S.ASYNC_REVIEW


def test_the_first_words_begin_the_report(world: World) -> None:
    case = world.accepted()
    save(world, draft_of(world, case), {"findings": "窦性心律"})
    assert world.get(case).state is S.REPORTING


def test_a_second_window_does_not_overwrite_the_first(world: World) -> None:
    case = world.reporting()
    draft = draft_of(world, case)
    newer = save(world, draft, {"findings": "新"})
    with pytest.raises(Stale) as caught:
        save(world, draft, {"findings": "旧"})
    assert caught.value.params == {"version": newer.version}
    assert world.uow.reports.get(draft.id).content == {"findings": "新"}


def test_nobody_writes_in_somebody_elses_draft(world: World) -> None:
    case = world.reporting()
    draft = draft_of(world, case)
    with pytest.raises(NotFound):
        save(world, draft, {"findings": "x"}, by=world.second)
    with pytest.raises(NotFound):
        save(world, draft, {"findings": "x"}, by=world.doctor)


def test_signing_asks_for_an_answer_to_every_question(world: World) -> None:
    case = world.reporting()
    draft = save(world, draft_of(world, case), {"answers": [{"n": 1, "text": "是"}, {"n": 2, "text": " "}]})
    with pytest.raises(Invalid) as caught:
        prepare_signing(world.uow, actor=world.expert, report=draft.id)
    assert caught.value.fields == (("answers.2", "required"),)


def test_the_plan_says_everything_that_stands_on_the_paper(world: World) -> None:
    case = world.reporting()
    plan = prepare_signing(world.uow, actor=world.expert, report=draft_of(world, case).id)
    header = plan.content["header"]
    assert header["number"] == case.number
    assert header["patient"]["name"] == "张三"
    assert (header["requesting"]["id"], header["serving"]["id"]) == ("jiubao", "city1")
    assert [x["n"] for x in plan.content["questions"]] == [1, 2]
    assert plan.content_digest == hashlib.sha256(canonical(plan.content)).hexdigest()
    assert [x.membership for x in plan.signers] == [world.expert.membership]
    assert len(plan.code.replace("-", "")) == 16


def test_preparing_writes_nothing(world: World) -> None:
    case = world.reporting()
    before = (world.get(case), world.triggers(case), len(world.uow.published))
    prepare_signing(world.uow, actor=world.expert, report=draft_of(world, case).id)
    assert (world.get(case), world.triggers(case), len(world.uow.published)) == before


def test_a_word_changed_between_preparing_and_signing_is_noticed(world: World) -> None:
    case = world.reporting()
    draft = draft_of(world, case)
    plan = prepare_signing(world.uow, actor=world.expert, report=draft.id)
    save(world, draft, {**world.answers(case), "advice": "改"})
    with pytest.raises(Stale):
        world.record(plan, world.expert)
    assert world.uow.reports.versions(case.id) == []


def test_a_patient_corrected_between_preparing_and_signing_is_noticed(world: World) -> None:
    case = world.reporting()
    plan = prepare_signing(world.uow, actor=world.expert, report=draft_of(world, case).id)
    update_patient(
        world.uow, actor=world.doctor, patient=case.patient, version=0, changes={"name": "张小明"}, romanise=romanise
    )
    with pytest.raises(Stale):
        world.record(plan, world.expert)


def test_an_expert_released_in_between_signs_nothing(world: World) -> None:
    case = world.reporting()
    plan = prepare_signing(world.uow, actor=world.expert, report=draft_of(world, case).id)
    triage.release_consultation(world.uow, actor=world.expert, consultation=case.id, reason="x")
    with pytest.raises(NotFound):
        world.record(plan, world.expert)


def test_a_pdf_that_is_not_the_digested_one_is_refused(world: World) -> None:
    case = world.reporting()
    plan = prepare_signing(world.uow, actor=world.expert, report=draft_of(world, case).id)
    good = SignedBy(membership=world.expert.membership, certificate="ab" * 32)
    for pdf, digest, signed_by in (
        (b"other", hashlib.sha256(b"%PDF").hexdigest(), [good]),
        (b"%PDF", hashlib.sha256(b"%PDF").hexdigest(), []),
        (b"%PDF", hashlib.sha256(b"%PDF").hexdigest(), [replace(good, certificate="")]),
        (b"%PDF", hashlib.sha256(b"%PDF").hexdigest(), [good, good]),
    ):
        with pytest.raises(Invalid):
            record_signed(
                world.uow, actor=world.expert, plan=plan, pdf=pdf, pdf_digest=digest,
                content_digest=plan.content_digest, signed_by=signed_by,
            )  # fmt: skip
    assert world.get(case).state is S.REPORTING


def test_signing_twice_files_once(world: World) -> None:
    case = world.reporting()
    plan = prepare_signing(world.uow, actor=world.expert, report=draft_of(world, case).id)
    world.record(plan, world.expert)
    with pytest.raises((Stale, WrongState)):
        world.record(plan, world.expert)
    assert len(world.uow.reports.versions(case.id)) == 1


def test_a_signed_report_is_in_the_inbox_and_waits_for_the_other_channels(world: World) -> None:
    case = world.delivered()
    states = {x.channel: x.state for x in world.uow.reports.filings(case.id)}
    assert states == {"inbox": "filed", "archive": "pending", "webhook": "pending"}
    assert [x.consultation for x in world.uow.reports.inbox(case.organisation)] == [case.id]
    assert case.state is S.DELIVERED


def test_a_session_must_be_finished_before_signing(world: World) -> None:
    case = world.reporting()
    world.uow.consultations.save(replace(world.get(case), state=S.IN_SESSION))
    with pytest.raises(WrongState):
        prepare_signing(world.uow, actor=world.expert, report=draft_of(world, case).id)


def test_the_expert_sees_when_the_clinic_has_read_it(world: World) -> None:
    case = world.delivered()
    version = world.uow.reports.versions(case.id)[0]
    mark_report_read(world.uow, actor=world.expert, version=version.id)
    assert world.uow.reports.inbox(case.organisation)[0].read_at is None
    mark_report_read(world.uow, actor=world.doctor, version=version.id)
    first = world.uow.now
    world.wait(hours=1)
    mark_report_read(world.uow, actor=world.doctor, version=version.id)
    filing = world.uow.reports.inbox(case.organisation)[0]
    assert (filing.read_by, filing.read_at) == (world.doctor.membership, first)


def test_only_who_takes_over_acknowledges_for_the_absent_doctor(world: World) -> None:
    case = world.delivered()
    with pytest.raises(NotFound):
        acknowledge_report(world.uow, actor=world.colleague, consultation=case.id)
    take_over_consultation(world.uow, actor=world.colleague, consultation=case.id, reason="值班")
    done = acknowledge_report(world.uow, actor=world.colleague, consultation=case.id)
    assert done.state is S.ACKNOWLEDGED
    with pytest.raises(WrongState):
        acknowledge_report(world.uow, actor=world.doctor, consultation=case.id)


def test_an_amendment_makes_a_new_version_beside_the_old_one(world: World) -> None:
    case = world.acknowledged()
    with pytest.raises(Invalid):
        amend_report(world.uow, actor=world.expert, consultation=case.id, reason=" ")
    draft = amend_report(world.uow, actor=world.expert, consultation=case.id, reason="左右写反")
    draft = save(world, draft, {**draft.content, "findings": "右侧"})
    version = world.record(prepare_signing(world.uow, actor=world.expert, report=draft.id), world.expert)
    first = world.uow.reports.versions(case.id)[0]
    assert (version.n, version.status, version.reason, version.replaces) == (
        2, m.ReportStatus.AMENDED, "左右写反", first.id,
    )  # fmt: skip
    assert first.content["findings"] == "ST 段抬高"
    assert world.get(case).state is S.ACKNOWLEDGED
    assert len(world.uow.reports.inbox(case.organisation)) == 1
    acknowledge_report(world.uow, actor=world.doctor, consultation=case.id)
    assert world.uow.reports.inbox(case.organisation) == []


def test_an_addendum_adds_and_changes_nothing(world: World) -> None:
    case = world.delivered()
    draft = append_report(world.uow, actor=world.expert, consultation=case.id, reason="补充随访")
    with pytest.raises(Invalid) as caught:
        prepare_signing(world.uow, actor=world.expert, report=draft.id)
    assert caught.value.fields == (("addendum", "required"),)
    changed = save(world, draft, {**draft.content, "addendum": "三月后复查", "findings": "改了"})
    with pytest.raises(Invalid):
        prepare_signing(world.uow, actor=world.expert, report=draft.id)
    save(world, changed, {**draft.content, "addendum": "三月后复查"})
    version = world.sign(case)
    assert (version.status, version.content["addendum"]) == (m.ReportStatus.APPENDED, "三月后复查")


def test_one_revision_at_a_time_and_it_can_be_given_up(world: World) -> None:
    case = world.delivered()
    amend_report(world.uow, actor=world.expert, consultation=case.id, reason="a")
    with pytest.raises(Conflict):
        append_report(world.uow, actor=world.expert, consultation=case.id, reason="b")
    drop_revision(world.uow, actor=world.expert, consultation=case.id)
    draft = draft_of(world, case)
    with pytest.raises(WrongState):
        save(world, draft, {"findings": "x"})
    with pytest.raises(WrongState):
        drop_revision(world.uow, actor=world.expert, consultation=case.id)


def test_a_report_that_is_not_signed_cannot_be_amended(world: World) -> None:
    with pytest.raises(WrongState):
        amend_report(world.uow, actor=world.expert, consultation=world.reporting().id, reason="x")


def test_where_two_signatures_are_wanted_the_reviewer_approves_exactly_this_draft() -> None:
    world = World(rules=Rules(two_signatures=frozenset({m.Service.CLINICAL})))
    case = world.reporting()
    draft = draft_of(world, case)
    with pytest.raises(Conflict) as caught:
        prepare_signing(world.uow, actor=world.expert, report=draft.id)
    assert caught.value.params == {"reason": "reviewer_missing"}
    ask_reviewer(world.uow, actor=world.expert, consultation=case.id, membership=world.second.membership)
    assert draft_of(world, case, world.second).id == draft.id
    approve_report(world.uow, actor=world.second, report=draft.id, version=draft.version)
    newer = save(world, draft, {**world.answers(case), "advice": "住院"})
    with pytest.raises(Conflict) as caught:
        prepare_signing(world.uow, actor=world.expert, report=draft.id)
    assert caught.value.params == {"reason": "approval_missing"}
    with pytest.raises(NotAllowed):
        approve_report(world.uow, actor=world.expert, report=draft.id, version=newer.version)
    approve_report(world.uow, actor=world.second, report=draft.id, version=newer.version)
    version = world.sign(case)
    signed = world.uow.reports.signatures(version.id)
    assert [(x.membership, x.part) for x in signed] == [
        (world.expert.membership, m.Part.EXPERT), (world.second.membership, m.Part.REVIEWER),
    ]  # fmt: skip


def test_an_invitation_to_review_is_seen_answered_and_can_be_taken_back(world: World) -> None:
    case = world.reporting()
    draft = draft_of(world, case)
    before = review_of(world.uow, world.expert, draft)
    assert (before.wanted, list(before.asked)) == (False, [])
    assert {x.membership for x in before.colleagues} == {world.second.membership, world.resting.membership}
    ask_reviewer(world.uow, actor=world.expert, consultation=case.id, membership=world.second.membership)
    approve_report(world.uow, actor=world.second, report=draft.id, version=draft.version)
    asked = review_of(world.uow, world.expert, draft)
    assert [(x.membership, x.approved) for x in asked.asked] == [(world.second.membership, True)]
    assert {x.membership for x in asked.colleagues} == {world.resting.membership}
    newer = save(world, draft, {**world.answers(case), "advice": "住院"})
    assert [x.approved for x in review_of(world.uow, world.expert, newer).asked] == [False]
    with pytest.raises(Conflict):
        prepare_signing(world.uow, actor=world.expert, report=draft.id)
    with pytest.raises(Invalid):
        withdraw_reviewer(world.uow, actor=world.expert, consultation=case.id, membership=world.resting.membership)
    with pytest.raises(NotAllowed):
        withdraw_reviewer(world.uow, actor=world.second, consultation=case.id, membership=world.expert.membership)
    withdraw_reviewer(world.uow, actor=world.second, consultation=case.id, membership=world.second.membership)
    with pytest.raises((NotFound, NotAllowed)):
        draft_of(world, case, world.second)
    assert world.sign(case).n == 1
    with pytest.raises(WrongState):
        ask_reviewer(world.uow, actor=world.expert, consultation=case.id, membership=world.second.membership)


def test_the_next_expert_writes_a_draft_of_their_own(world: World) -> None:
    case = world.reporting()
    former = draft_of(world, case)
    triage.release_consultation(world.uow, actor=world.expert, consultation=case.id, reason="x")
    triage.accept_offer(world.uow, actor=world.second, consultation=case.id)
    own = draft_of(world, case, world.second)
    assert own.id != former.id
    save(world, own, world.answers(case), by=world.second)
    assert world.sign(case, world.second).n == 1


def test_the_paper_is_verified_without_telling_anything_clinical(world: World) -> None:
    case = world.delivered()
    version = world.uow.reports.versions(case.id)[0]
    found = describe_code(world.uow, version.code.lower().replace("-", " "))
    assert (found.number, found.n, found.newest, found.signers) == (case.number, 1, True, ("名expert",))
    assert "张三" not in repr(found)
    assert "ST" not in repr(found).replace(version.code, "")      # a code may hold any two letters
    assert describe_code(world.uow, "AAAA-BBBB-CCCC-DDDD") is None
    assert describe_code(world.uow, "") is None


def test_an_old_version_says_that_there_is_a_newer_one(world: World) -> None:
    case = world.delivered()
    first = world.uow.reports.versions(case.id)[0]
    draft = amend_report(world.uow, actor=world.expert, consultation=case.id, reason="更正")
    save(world, draft, {**draft.content, "advice": "新"})
    world.sign(case)
    assert describe_code(world.uow, first.code).newest is False


def test_the_pdf_is_for_both_sides_and_for_nobody_else(world: World) -> None:
    case = world.delivered()
    version = world.uow.reports.versions(case.id)[0].id
    for actor in (world.doctor, world.expert):
        assert read_report_version(world.uow, actor=actor, version=version)[1].startswith(b"%PDF")
    for actor in (world.colleague, world.second, world.dispatcher, world.technician, world.admin, world.auditor):
        with pytest.raises(NotFound):
            read_report_version(world.uow, actor=actor, version=version)


def test_the_timeline_tells_who_when_and_why_and_only_steps_to_who_may_not_read(world: World) -> None:
    case = world.accepted()
    triage.release_consultation(world.uow, actor=world.expert, consultation=case.id, reason="家中有事")
    full = timeline(world.uow, actor=world.doctor, consultation=case.id)
    assert [(x.trigger, x.who, x.reason) for x in full[-2:]] == [
        ("release", "名expert 主任医师", "家中有事"), ("offer", "", ""),
    ]  # fmt: skip
    queue = timeline(world.uow, actor=world.colleague, consultation=case.id)
    assert {x.reason for x in queue} == {""}
    assert "record_consent" not in {x.trigger for x in queue}
    with pytest.raises(NotFound):
        timeline(world.uow, actor=world.other_doctor, consultation=case.id)


def test_phrases_belong_to_fields_of_the_form() -> None:
    keys = {x.key for x in REPORT_FIELDS}
    for service in m.Service:
        assert phrases(service)
        assert {x.field for x in phrases(service)} <= keys


def test_no_form_names_a_field_twice() -> None:
    for form in (FORM_FIELDS, REPORT_FIELDS):
        keys = [x.key for x in form]
        assert len(keys) == len(set(keys))


def test_every_event_of_a_consultation_is_numbered_without_gaps(world: World) -> None:
    case = world.acknowledged()
    numbers = [x.n for x in world.uow.events.of(f"consultation:{case.id}")]
    assert numbers == list(range(1, len(numbers) + 1))
    steps = [x for x in world.uow.events.of(f"consultation:{case.id}") if x.before != x.after]
    assert all(a.after == b.before for a, b in pairwise(steps))
