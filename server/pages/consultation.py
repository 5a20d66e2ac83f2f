"""`/consultations/{id}`: one page for everyone, showing what each may see and do."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiohttp import web

from consult import consent as consents
from consult import line_quality, scheduling
from consult import model as m
from consult.access import Action, open_consultation
from consult.offering import pools
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.recording import list_recordings
from consult.timeline import Line
from dicom.archive import Archive
from dicom.model import Scope
from server import labels
from server.api.common import actor, json_response, work
from server.api.requests import place_view
from server.call_words import card
from server.cases import Case, read_case
from server.dicomweb.ports import ARCHIVE
from server.i18n import N_, _
from server.pages import render
from server.pages.case_actions import doings
from server.pages.recordings import STAGES
from server.pages.removals import gone

RUNNING = frozenset({
    m.State.SUBMITTED, m.State.TRIAGE, m.State.OFFERED, m.State.ACCEPTED, m.State.SCHEDULED, m.State.CHECKED_IN,
    m.State.IN_SESSION, m.State.ASYNC_REVIEW, m.State.REPORTING,
})  # fmt: skip
# What of the form the page shows, in this order; the keys are consult/forms.py's.
FIELDS: Mapping[str, str] = {
    "purpose": N_("会诊目的"), "urgency_reason": N_("紧急原因"), "complaint": N_("主诉"), "history": N_("现病史"),
    "past_history": N_("既往史"), "personal_history": N_("个人史"), "family_history": N_("家族史"),
    "allergies": N_("过敏史"), "examination": N_("体格检查"), "diagnosis_text": N_("初步诊断"),
    "treatment": N_("已做治疗"), "medication": N_("用药"), "laboratory": N_("检验结果"), "imaging": N_("检查所见"),
    "material_note": N_("资料说明"),
}  # fmt: skip
TRIGGERS: Mapping[str, str] = {
    "start_draft": N_("新建草稿"), "save_request": N_("修改申请"), "submit": N_("提交申请"),
    "receive": N_("进入分诊"),
    "return": N_("退回补充"), "resubmit": N_("重新提交"), "reject": N_("驳回"), "offer": N_("派给专家"),
    "decline": N_("婉拒"), "time_out": N_("接诊超时"), "requeue": N_("回到分诊"), "accept": N_("接诊"),
    "schedule": N_("约定时间"), "reschedule": N_("改约时间"), "check_in": N_("签到"), "start": N_("会诊开始"),
    "finish": N_("会诊结束"), "undo_finish": N_("恢复会诊"), "start_review": N_("开始阅片"),
    "request_material": N_("要求补充资料"), "provide_material": N_("补齐资料"), "continue_without": N_("不再等待资料"),
    "start_report": N_("开始书写报告"), "sign": N_("签发报告"), "deliver": N_("报告送达"),
    "acknowledge": N_("签收报告"), "ask_feedback": N_("进入反馈"),
    "give_feedback": N_("填写反馈"), "record_feedback": N_("填写反馈"), "rate_request": N_("评价申请"),
    "archive": N_("归档"), "release": N_("释放"),
    "reassign": N_("改派"), "take_over": N_("接手"), "withdraw": N_("撤回"), "cancel": N_("取消"),
    "mark_no_show": N_("记录未到"), "expire": N_("超时"), "escalate": N_("重新分诊"), "convert": N_("转办"),
    "enter_in_error": N_("作废"), "record_consent": N_("记录知情同意"), "withdraw_consent": N_("撤回知情同意"),
    "add_document": N_("添加附件"), "void_document": N_("作废附件"), "share_study": N_("加入检查"),
    "end_share": N_("移除检查"), "propose_windows": N_("提出可选时间"), "take_seat": N_("进入等候区"),
    "withdraw_invitation": N_("撤回邀请"), "invitation_expired": N_("邀请已过期"),
    "hand_over_chair": N_("移交会诊主持"), "seat_removed": N_("移出会诊室"), "session_locked": N_("会诊室已锁定"),
    "session_unlocked": N_("会诊室已解锁"), "session_by_telephone": N_("改用电话会诊"),
    "invite": N_("邀请参会"), "report_wrong_patient": N_("指出患者不符"), "settle_wrong_patient": N_("核对患者"),
    "sign_revision": N_("签发修订报告"), "read_report": N_("已阅报告"), "ask_reviewer": N_("请求复核"),
    "withdraw_reviewer": N_("撤回复核邀请"), "ring_again": N_("再次响铃"),
    "tell_unanswered": N_("无人接诊，已通知调度员和中心"), "show_phones": N_("无人接诊，已列出值班电话"),
    "approve_report": N_("复核通过"), "amend_report": N_("开始修订"), "append_report": N_("开始补充"),
    "drop_revision": N_("放弃修订"), "start_telephone": N_("改用电话会诊"), "complete_stat": N_("补全急会诊申请"),
    "acknowledge_revision": N_("签收修订报告"), "release_draft": N_("开放草稿给申请方"),
    "identify_patient": N_("核实患者身份"), "ask_recording": N_("请求录制"), "end_recording": N_("录制结束"),
    "hold_recording": N_("设保留令"), "lift_recording_hold": N_("解除保留令"), "remove_recording": N_("录制到期移除"),
}  # fmt: skip
CONSENT_SCOPES: Mapping[str, str] = {
    "consultation": N_("会诊"), "record_reading": N_("查阅病历"), "image_sharing": N_("共享影像"),
    "recording": N_("录音录像"), "teaching": N_("教学"),
}  # fmt: skip
RELATIONS: Mapping[str, str] = {
    "self": N_("本人"), "spouse": N_("配偶"), "parent": N_("父母"), "child": N_("子女"), "sibling": N_("兄弟姐妹"),
    "guardian": N_("监护人"), "other": N_("其他"),
}  # fmt: skip


# What the page says to somebody who has nothing to do now: who has.
WAITS: Mapping[m.State, str] = {
    m.State.SUBMITTED: N_("申请已送到，等待调度分诊。"), m.State.TRIAGE: N_("调度正在分诊，会派给合适的专家。"),
    m.State.RETURNED: N_("等待申请医生补充。"), m.State.OFFERED: N_("等待专家接诊。"),
    m.State.ACCEPTED: N_("专家已接诊，等待下一步。"), m.State.SCHEDULED: N_("时间已约定，到时签到进入会诊室。"),
    m.State.ASYNC_REVIEW: N_("专家正在阅读资料。"), m.State.AWAITING_MATERIAL: N_("等待申请方补充资料。"),
    m.State.REPORTING: N_("专家正在书写报告。"), m.State.SIGNED: N_("报告已签发，正在送达。"),
    m.State.DELIVERED: N_("报告已送达，等待申请医生签收。"), m.State.ACKNOWLEDGED: N_("报告已签收。"),
    m.State.FEEDBACK: N_("等待申请医生反馈结局。"),
    m.State.NO_SHOW: N_("对方没有按时到场，可以改约。"), m.State.EXPIRED: N_("已超过时限。"),
}  # fmt: skip


# What became of it, in the words of the dialog (static/js/feedback.js).
HEARD: Mapping[str, Mapping[str, str]] = {
    "adoption": {
        "adopted": N_("采纳"), "partly": N_("部分采纳"), "not": N_("未采纳"),
    },
    "outcome": {
        "improved": N_("好转"), "unchanged": N_("无变化"), "worse": N_("加重"), "referred": N_("已转诊"),
        "died": N_("死亡"), "lost": N_("失访"),
    },
}  # fmt: skip


def asking_view(case: Case) -> dict[str, Any] | None:
    """What the feedback dialog begins with; None where it is not this person's to give."""
    asking = case.asking
    if asking is None:
        return None
    before = asking.before
    return {
        "day": asking.day,
        "last_from": asking.last_from.isoformat(),
        "told": [x.day for x in case.feedback if x.day],
        "adoption": before.adoption if before else None,
        "reason": before.reason if before else "",
        "plan_changed": before.plan_changed if before else None,
    }


def shown(line: Line) -> bool:
    """Whether the timeline tells of it: autosaves and the picture that holds a signature are no news."""
    if line.trigger == "add_document":
        return line.payload.get("kind") not in {"signature", "consent"}
    return line.trigger != "save_request"


def may_edit(consultation: m.Consultation) -> bool:
    """Whether the form is open now: before it is with the centre, and in an emergency while it goes on."""
    if consultation.state in {m.State.DRAFT, m.State.RETURNED, m.State.EXPIRED, m.State.AWAITING_MATERIAL}:
        return True
    return consultation.urgency is m.Urgency.STAT and consultation.state in RUNNING


def study_card(archive: Archive, uid: str, hidden: bool) -> dict[str, Any]:
    """What a card shows of a study that this person was already allowed to list; its first picture, if it has one."""
    if hidden:
        return {"uid": uid, "hidden": True, "missing": False}
    scope = Scope(studies=frozenset({uid}))
    row = archive.study(scope, uid)
    if row is None:
        return {"uid": uid, "hidden": False, "missing": True}
    series = archive.series(scope, uid)
    return {
        "uid": uid,
        "hidden": False,
        "missing": False,
        "modalities": [x for x in row.modalities if x != "DOC"],
        "description": row.description,
        "repaired": row.repaired,
        "date": row.study_date,
        "instances": row.instance_count,
        "series": [{"uid": x.series_uid, "modality": x.modality} for x in series],
        "thumb": next((x.series_uid for x in series if x.modality not in {"DOC", "SR", "PR", "KO"}), ""),
    }


async def study_cards(
    request: web.Request, study_uids: Iterable[str], hidden: Collection[str]
) -> list[dict[str, Any]]:
    """A card for each; of images that were removed after their retention it says when."""
    archive = request.app[ARCHIVE]
    cards = [await asyncio.to_thread(study_card, archive, uid, uid in hidden) for uid in study_uids]
    removed = await gone(request, [x["uid"] for x in cards if x["missing"]])
    return [x | {"removed": removed.get(x["uid"])} for x in cards]


def _windows(uow: UnitOfWork, who: Actor, case: Case) -> list[scheduling.Window]:
    if case.consultation.state not in {m.State.ACCEPTED, m.State.SCHEDULED, m.State.NO_SHOW} or not case.full:
        return []
    return list(scheduling.proposed_windows(uow, actor=who, consultation=case.consultation.id))


def _calls(uow: UnitOfWork, who: Actor, case: Case) -> tuple[line_quality.SessionQuality, ...]:
    if not case.can(Action.ROOM_HISTORY):
        return ()
    return line_quality.session_qualities(uow, actor=who, consultation=case.consultation.id)


def _read(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId
) -> tuple[Case, list[scheduling.Window], tuple[line_quality.SessionQuality, ...]]:
    case = read_case(uow, actor=actor, consultation=consultation)
    return case, _windows(uow, actor, case), _calls(uow, actor, case)


async def page(request: web.Request) -> web.StreamResponse:
    """The consultation, audited."""
    who = actor(request)
    case, windows, calls = await work(request).run(
        _read, actor=who, consultation=m.ConsultationId(request.match_info["id"])
    )
    recordings = await work(request).read(
        list_recordings, actor=who, consultation=case.consultation.id
    ) if case.can(Action.RECORDING_READ) else ()
    hidden = case.consultation.hidden_studies
    studies = await study_cards(request, [x.study_uid for x in case.shares], hidden)
    chosen, rest = doings(case)
    content = case.request.content if case.request else {}
    identity = []
    if case.patient is not None:
        identity = [f"{case.patient.name or _('未知患者')} {_(labels.SEX[case.patient.sex])}"]
    emergency = case.consultation.urgency is m.Urgency.STAT
    ringing = emergency and case.consultation.state is m.State.OFFERED and case.can("request.write")
    return await render(
        request,
        "consultation.html",
        page="consultation",
        banner=case.banner,
        case=case,
        next_step=chosen,
        other_steps=rest,
        fields=[(label, content[key]) for key, label in FIELDS.items() if content.get(key)],
        vitals=content.get("vitals", ()),
        diagnosis=content.get("diagnosis", ()),
        studies=studies,
        windows=windows,
        calls=[card(x) for x in calls if x.counted],
        recordings=recordings,
        recording_stages=STAGES,
        documents=[x for x in case.documents if x.kind not in {"signature", "consent"}],
        consent_text=consents.TEXTS.get(case.consents[-1].text_version) if case.consents else None,
        scopes=CONSENT_SCOPES,
        relations=RELATIONS,
        heard=HEARD,
        triggers=TRIGGERS,
        lines=[x for x in case.lines if shown(x)],
        editable=case.can("request.write") and may_edit(case.consultation),
        sent=request.query.get("sent") == "1",
        ringing=ringing,
        waits=WAITS.get(case.consultation.state, "") if chosen is None and case.full else "",
        expert=next((x for x in reversed(case.people) if x.part is m.Part.EXPERT and x.until is None), None),
        data={
            "id": case.consultation.id,
            "version": case.consultation.version,
            "state": case.consultation.state,
            "identity": identity,
            "chat": case.can("room.chat"),
            "me": who.membership,
            "doubt": case.can("studies.doubt"),
            "share": case.can("studies.share"),
            "windows": [{"start": x.start.isoformat(), "end": x.end.isoformat()} for x in windows],
            "feedback": asking_view(case),
            "ringing": ringing,
            "documents": [{"id": x.id, "title": x.title, "pages": x.pages} for x in case.documents],
            "pictures": case.can(Action.DOCUMENT_WRITE),
        },
    )


def _targets(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> dict[str, Any]:
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_OFFER)
    found = opened.consultation
    places = dict.fromkeys((actor.organisation, *pools(uow, found.organisation, found.service)))
    return {"places": [place_view(uow, x) for x in places]}


async def targets(request: web.Request) -> web.StreamResponse:
    """`GET /api/consultations/{id}/targets`: pools and experts a dispatcher may offer it to."""
    found = await work(request).read(
        _targets, actor=actor(request), consultation=m.ConsultationId(request.match_info["id"])
    )
    return json_response(found)
