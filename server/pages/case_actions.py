"""What a person may do with a consultation now, in the words of the page: one next step, the rest in a menu.

The lifecycle decides what is possible (consult/lifecycle.py), this table only says how it is called and asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from consult import model as m
from consult.lifecycle import Trigger
from server.cases import Case
from server.i18n import N_

Kind = Literal[
    "post", "reason", "link", "accept", "decline", "return", "material", "offer", "reassign", "schedule", "reschedule",
    "cancel", "convert", "note", "feedback",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """One button. `to`: the endpoint's last word, or a page; `text` says what will happen; `reason` labels a field."""

    trigger: Trigger
    label: str
    kind: Kind
    to: str
    text: str = ""
    reason: str = ""
    icon: str = "chevron-right"
    danger: bool = False


_T = Trigger
DOINGS: Mapping[Trigger, Doing] = {
    x.trigger: x
    for x in (
        Doing(trigger=_T.SUBMIT, label=N_("继续填写申请"), kind="link", to="edit", icon="pen"),
        Doing(trigger=_T.RESUBMIT, label=N_("补充并重新提交"), kind="link", to="edit", icon="pen"),
        Doing(trigger=_T.ACCEPT, label=N_("接诊"), kind="accept", to="accept", icon="check"),
        Doing(trigger=_T.RECEIVE, label=N_("开始分诊"), kind="post", to="receive", icon="inbox"),
        Doing(trigger=_T.OFFER, label=N_("派给专家"), kind="offer", to="offer", icon="send"),
        Doing(trigger=_T.START, label=N_("进入会诊室"), kind="link", to="room", icon="video"),
        Doing(trigger=_T.CHECK_IN, label=N_("签到"), kind="post", to="check-in", icon="check",
              text=N_("签到表示本方已到场，双方都签到后即可进入会诊室。")),
        Doing(trigger=_T.FINISH, label=N_("回到会诊室"), kind="link", to="room", icon="video"),
        Doing(trigger=_T.SIGN, label=N_("书写报告"), kind="link", to="report", icon="file-text"),
        Doing(trigger=_T.START_REPORT, label=N_("书写报告"), kind="link", to="report", icon="file-text"),
        Doing(trigger=_T.START_REVIEW, label=N_("开始阅片"), kind="post", to="start-review", icon="image",
              text=N_("不开视频，直接阅读资料并书写报告。")),
        Doing(trigger=_T.PROVIDE_MATERIAL, label=N_("资料已补齐"), kind="note", to="provide-material", icon="check",
              text=N_("专家会收到通知，会诊回到原来的步骤。"), reason=N_("补充说明（选填）")),
        Doing(trigger=_T.ACKNOWLEDGE, label=N_("查看并签收报告"), kind="link", to="report", icon="file-text"),
        Doing(trigger=_T.GIVE_FEEDBACK, label=N_("反馈"), kind="feedback", to="feedback", icon="message-square"),
        Doing(trigger=_T.ASK_FEEDBACK, label=N_("反馈"), kind="feedback", to="feedback", icon="message-square"),
        Doing(trigger=_T.ESCALATE, label=N_("重新分诊"), kind="reason", to="escalate", icon="undo-2",
              text=N_("会诊回到分诊，可以继续派给专家。"), reason=N_("原因")),
        Doing(trigger=_T.SCHEDULE, label=N_("约定时间"), kind="schedule", to="schedule", icon="calendar"),
        Doing(trigger=_T.RESCHEDULE, label=N_("改约时间"), kind="reschedule", to="reschedule", icon="calendar"),
        Doing(trigger=_T.REQUEST_MATERIAL, label=N_("请对方补充资料"), kind="material", to="request-material",
              icon="folder"),
        Doing(trigger=_T.CONTINUE_WITHOUT, label=N_("不再等待，继续会诊"), kind="reason", to="continue-without",
              text=N_("不等缺少的资料，会诊回到原来的步骤。"), reason=N_("原因")),
        Doing(trigger=_T.DECLINE, label=N_("不接这一例"), kind="decline", to="decline", icon="x"),
        Doing(trigger=_T.RETURN, label=N_("退回补充"), kind="return", to="return", icon="undo-2"),
        Doing(trigger=_T.RELEASE, label=N_("释放"), kind="reason", to="release", icon="log-out",
              text=N_("会诊交还调度，由其他专家接诊；您将不能再查看这位患者的资料。"), reason=N_("释放原因")),
        Doing(trigger=_T.REASSIGN, label=N_("改派"), kind="reassign", to="reassign", icon="users"),
        Doing(trigger=_T.MARK_NO_SHOW, label=N_("对方未到"), kind="note", to="no-show", icon="clock",
              text=N_("记录对方没有按约定时间到场，之后可以改约。"), reason=N_("说明（选填）")),
        Doing(trigger=_T.TAKE_OVER, label=N_("接手"), kind="reason", to="take-over", icon="users",
              text=N_("您将成为这次会诊的申请医生，可以查看全部资料；原申请医生会收到通知。"), reason=N_("接手原因")),
        Doing(trigger=_T.CONVERT, label=N_("转办"), kind="convert", to="convert", icon="refresh-cw"),
        Doing(trigger=_T.REJECT, label=N_("驳回"), kind="reason", to="reject", icon="x", danger=True,
              text=N_("会诊到此结束，申请方会看到驳回原因。"), reason=N_("驳回原因")),
        Doing(trigger=_T.WITHDRAW, label=N_("撤回申请"), kind="note", to="withdraw", icon="undo-2", danger=True,
              text=N_("会诊到此结束，记录仍会保留。"), reason=N_("撤回原因（选填）")),
        Doing(trigger=_T.CANCEL, label=N_("取消会诊"), kind="cancel", to="cancel", icon="x", danger=True,
              text=N_("会诊到此结束，双方都会收到通知。"), reason=N_("取消原因")),
        Doing(trigger=_T.ENTER_IN_ERROR, label=N_("作废"), kind="reason", to="enter-in-error", icon="trash-2",
              danger=True, text=N_("这次会诊标记为录入错误并停止，记录仍会保留。"), reason=N_("作废原因")),
    )
}  # fmt: skip

# In this order the first possible one is the next step; what is not here is never the next step.
NEXT: tuple[Trigger, ...] = (
    _T.SUBMIT, _T.RESUBMIT, _T.ACCEPT, _T.RECEIVE, _T.OFFER, _T.FINISH, _T.PROVIDE_MATERIAL, _T.ACKNOWLEDGE,
    _T.SIGN, _T.START_REPORT, _T.START, _T.CHECK_IN, _T.START_REVIEW, _T.ESCALATE, _T.RESCHEDULE,
    _T.GIVE_FEEDBACK, _T.ASK_FEEDBACK,
)  # fmt: skip


def doings(case: Case) -> tuple[Doing | None, tuple[Doing, ...]]:
    """(the next step or None, everything else that is possible), each once."""
    possible = [DOINGS[x] for x in case.triggers if x in DOINGS]
    order = list(NEXT)
    if case.consultation.mode is m.Mode.STORED and case.consultation.state is m.State.ACCEPTED:
        # Without video the reading comes first; the room stays in the menu.
        order = [_T.START_REVIEW, *(x for x in order if x not in {_T.START_REVIEW, _T.START, _T.CHECK_IN})]
    elif case.consultation.state is m.State.REPORTING:
        order.remove(_T.START)
    if case.consultation.state is m.State.OFFERED and case.offer is not None:
        order = [x for x in order if x is not _T.OFFER]
    chosen = next((DOINGS[x] for x in order if any(y.trigger is x for y in possible)), None)
    rank = {x: n for n, x in enumerate(DOINGS)}
    rest = sorted((x for x in possible if x is not chosen), key=lambda x: (x.danger, rank[x.trigger]))
    unique: dict[tuple[str, str], Doing] = {}
    for x in rest:
        if chosen is None or (x.kind, x.to) != (chosen.kind, chosen.to):
            unique.setdefault((x.kind, x.to), x)
    return chosen, tuple(unique.values())
