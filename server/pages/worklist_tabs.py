"""What the worklists are made of: the states of each tab, what a row offers to do, and the words of an empty one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from consult import model as m
from consult import people as o
from server.i18n import N_

_S = m.State
OFF = (_S.WITHDRAWN, _S.CANCELLED, _S.REJECTED, _S.CONVERTED, _S.ENTERED_IN_ERROR)
OPEN = tuple(state for state in m.State if state not in {_S.DRAFT, _S.ARCHIVED, _S.ACKNOWLEDGED, _S.FEEDBACK, *OFF})
STATES: Mapping[o.Role, Mapping[str, tuple[m.State, ...]]] = {
    o.Role.CLINIC_DOCTOR: {
        "todo": (_S.RETURNED, _S.AWAITING_MATERIAL, _S.CHECKED_IN, _S.NO_SHOW, _S.EXPIRED),
        "active": (
            _S.SUBMITTED, _S.TRIAGE, _S.OFFERED, _S.ACCEPTED, _S.SCHEDULED, _S.IN_SESSION, _S.ASYNC_REVIEW,
            _S.REPORTING, _S.SIGNED,
        ),
        "inbox": (_S.DELIVERED,),
        "drafts": (_S.DRAFT,),
        "done": (_S.ACKNOWLEDGED, _S.FEEDBACK, _S.ARCHIVED, *OFF),
    },
    o.Role.EXPERT: {
        "todo": (_S.OFFERED, _S.ACCEPTED, _S.SCHEDULED, _S.CHECKED_IN),
        "active": (_S.IN_SESSION, _S.ASYNC_REVIEW, _S.AWAITING_MATERIAL, _S.RETURNED, _S.NO_SHOW, _S.EXPIRED),
        "sign": (_S.REPORTING,),
        "done": (_S.SIGNED, _S.DELIVERED, _S.ACKNOWLEDGED, _S.FEEDBACK, _S.ARCHIVED, *OFF),
    },
    o.Role.TECHNICIAN: {"todo": (_S.AWAITING_MATERIAL, _S.RETURNED)},
    o.Role.DISPATCHER: {
        "todo": (_S.SUBMITTED, _S.TRIAGE),
        "offered": (_S.OFFERED, _S.EXPIRED),
        "overdue": OPEN,
        "active": (
            _S.RETURNED, _S.ACCEPTED, _S.SCHEDULED, _S.CHECKED_IN, _S.IN_SESSION, _S.ASYNC_REVIEW,
            _S.AWAITING_MATERIAL, _S.REPORTING, _S.NO_SHOW,
        ),
        "done": (_S.SIGNED, _S.DELIVERED, _S.ACKNOWLEDGED, _S.FEEDBACK, _S.ARCHIVED, *OFF),
    },
}  # fmt: skip
SPANS: Mapping[str, tuple[str, timedelta]] = {
    "1d": (N_("最近 24 小时"), timedelta(days=1)),
    "3d": (N_("最近 3 天"), timedelta(days=3)),
    "7d": (N_("最近 7 天"), timedelta(days=7)),
    "30d": (N_("最近 30 天"), timedelta(days=30)),
}
SORTS: Mapping[str, str] = {"urgency": N_("按紧急程度"), "waiting": N_("等待最久在前"), "updated": N_("最近变化在前")}
NEAR = {m.Urgency.STAT: 60, m.Urgency.URGENT: 600, m.Urgency.ROUTINE: 7200}
"""Seconds before a deadline from which it counts as near."""
EMPTY: Mapping[tuple[str, str], tuple[str, str, str]] = {
    ("clinic_doctor", "todo"): (N_("没有等您处理的会诊"), N_("被退回或要补充资料的会诊会出现在这里。"), "check-check"),
    ("clinic_doctor", "active"): (N_("没有进行中的会诊"), N_("提交申请后，在这里看它走到哪一步。"), "stethoscope"),
    ("clinic_doctor", "drafts"): (N_("没有草稿"), N_("没写完的申请会自动保存在这里。"), "pen-line"),
    ("expert", "todo"): (N_("没有等您接诊的会诊"), N_("新的会诊会自动出现。值班时请打开响铃提醒。"), "check-check"),
    ("expert", "active"): (N_("没有进行中的会诊"), N_("接诊后开始阅片或会诊的，都在这里。"), "eye"),
    ("expert", "sign"): (N_("没有待签发的报告"), N_("开始书写的报告会出现在这里，可以逐份签发。"), "signature"),
    ("technician", "orders"): (N_("没有待做的检查"), N_("医生开出的检查单会出现在这里；也可以直接上传影像。"), "scan"),
    ("technician", "todo"): (N_("没有要补充的资料"), N_("专家要求补做或补传时，会出现在这里。"), "check-check"),
    ("dispatcher", "todo"): (N_("没有等待分诊的会诊"), N_("诊所提交的申请会出现在这里。"), "check-check"),
    ("dispatcher", "offered"): (N_("没有等待接诊的会诊"), N_("派出后无人接诊的，会在这里倒计时。"), "timer"),
    ("dispatcher", "overdue"): (N_("没有超过时限的会诊"), N_("一切都在时限之内。"), "circle-check"),
}
NOTHING = (N_("这里还没有会诊"), N_("符合条件的会诊会出现在这里。"), "inbox")
ACTIONS: Mapping[tuple[str, m.State], str] = {
    ("clinic_doctor", _S.DRAFT): N_("继续填写"),
    ("clinic_doctor", _S.RETURNED): N_("去补充"),
    ("clinic_doctor", _S.AWAITING_MATERIAL): N_("去补充"),
    ("clinic_doctor", _S.DELIVERED): N_("查看并签收"),
    ("clinic_doctor", _S.FEEDBACK): N_("去反馈"),
    ("clinic_doctor", _S.CHECKED_IN): N_("进入"),
    ("clinic_doctor", _S.IN_SESSION): N_("进入"),
    ("expert", _S.CHECKED_IN): N_("进入"),
    ("expert", _S.IN_SESSION): N_("进入"),
    ("expert", _S.REPORTING): N_("写报告"),
    ("technician", _S.AWAITING_MATERIAL): N_("去补充"),
    ("dispatcher", _S.SUBMITTED): N_("分诊"),
    ("dispatcher", _S.TRIAGE): N_("分诊"),
    ("dispatcher", _S.EXPIRED): N_("改派"),
}
IN_ROOM = frozenset({_S.CHECKED_IN, _S.IN_SESSION})
MOST_COUNTED = 99
UNCOUNTED = frozenset({"done", "drafts", "inbox", "overdue"})
"""Tabs whose number is not the sum of their states in the viewer's scope, or is of no use to anybody."""
