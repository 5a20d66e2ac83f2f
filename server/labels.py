"""The words of the product for every value of an enumeration: one table, so that all pages speak alike.

Each dict maps an enum member to its Chinese source string (the msgid); templates translate with `_`. `install` gives
them to Jinja as `labels`; `_macros.html` builds the badges from them. Icons are names of static/icons.txt.
"""

from collections.abc import Mapping
from datetime import date
from types import SimpleNamespace

from jinja2 import Environment

from consult.model import (
    Addressing,
    ConsentMode,
    MatchMethod,
    Mode,
    OfferOutcome,
    Part,
    Participation,
    ReportStatus,
    SeatState,
    Service,
    State,
    Urgency,
)
from consult.patient import IdentifierSystem, Patient, Sex
from consult.people import LinkKind, OrganisationKind, Role, Tier
from server.audit_words import ACTION


def _(text: str) -> str:
    """Marks a source string for Babel; the lookup happens where it is shown."""
    return text


SERVICE: Mapping[Service, str] = {
    Service.CLINICAL: _("临床会诊"),
    Service.IMAGING: _("影像诊断"),
    Service.ECG: _("心电诊断"),
    Service.PATHOLOGY: _("病理诊断"),
    Service.LABORATORY: _("检验解读"),
    Service.CHRONIC: _("慢病联合诊疗"),
    Service.PRENATAL: _("产前会诊"),
    Service.MATERNAL: _("危重孕产妇会诊"),
}

# For rows: what an eye can take in while scanning.
SERVICE_SHORT: Mapping[Service, str] = {
    Service.CLINICAL: _("临床"),
    Service.IMAGING: _("影像"),
    Service.ECG: _("心电"),
    Service.PATHOLOGY: _("病理"),
    Service.LABORATORY: _("检验"),
    Service.CHRONIC: _("慢病"),
    Service.PRENATAL: _("产前"),
    Service.MATERNAL: _("孕产妇"),
}

SERVICE_ICON: Mapping[Service, str] = {
    Service.CLINICAL: "stethoscope",
    Service.IMAGING: "scan",
    Service.ECG: "activity",
    Service.PATHOLOGY: "microscope",
    Service.LABORATORY: "flask-conical",
    Service.CHRONIC: "heart-pulse",
    Service.PRENATAL: "baby",
    Service.MATERNAL: "siren",
}

MODE: Mapping[Mode, str] = {Mode.LIVE: _("实时会诊"), Mode.STORED: _("非实时会诊")}

PARTICIPATION: Mapping[Participation, str] = {
    Participation.SINGLE: _("单专家"),
    Participation.JOINT: _("联合会诊"),
    Participation.MDT: _("多学科会诊"),
}

ADDRESSING: Mapping[Addressing, str] = {
    Addressing.EXPERT: _("点名专家"),
    Addressing.SPECIALTY: _("指定专科"),
    Addressing.POOL: _("值班专家"),
}

URGENCY: Mapping[Urgency, str] = {
    Urgency.ROUTINE: _("普通"),
    Urgency.URGENT: _("加急"),
    Urgency.STAT: _("急会诊"),
}

URGENCY_ICON: Mapping[Urgency, str] = {
    Urgency.ROUTINE: "minus",
    Urgency.URGENT: "chevrons-up",
    Urgency.STAT: "zap",
}

STATE: Mapping[State, str] = {
    State.DRAFT: _("草稿"),
    State.SUBMITTED: _("已提交"),
    State.TRIAGE: _("待分诊"),
    State.RETURNED: _("已退回待补充"),
    State.OFFERED: _("待接诊"),
    State.ACCEPTED: _("已接诊"),
    State.SCHEDULED: _("已预约"),
    State.CHECKED_IN: _("已签到"),
    State.IN_SESSION: _("会诊中"),
    State.ASYNC_REVIEW: _("阅片中"),
    State.AWAITING_MATERIAL: _("待补充资料"),
    State.REPORTING: _("报告书写中"),
    State.SIGNED: _("已签发"),
    State.DELIVERED: _("已送达"),
    State.ACKNOWLEDGED: _("已签收"),
    State.FEEDBACK: _("待反馈"),
    State.ARCHIVED: _("已归档"),
    State.WITHDRAWN: _("已撤回"),
    State.CANCELLED: _("已取消"),
    State.REJECTED: _("已驳回"),
    State.NO_SHOW: _("未到"),
    State.EXPIRED: _("已超时"),
    State.CONVERTED: _("已转办"),
    State.ENTERED_IN_ERROR: _("已作废"),
}

STATE_ICON: Mapping[State, str] = {
    State.DRAFT: "pen-line",
    State.SUBMITTED: "send",
    State.TRIAGE: "filter",
    State.RETURNED: "corner-up-left",
    State.OFFERED: "bell",
    State.ACCEPTED: "user-check",
    State.SCHEDULED: "calendar-clock",
    State.CHECKED_IN: "check",
    State.IN_SESSION: "video",
    State.ASYNC_REVIEW: "eye",
    State.AWAITING_MATERIAL: "paperclip",
    State.REPORTING: "file-text",
    State.SIGNED: "signature",
    State.DELIVERED: "inbox",
    State.ACKNOWLEDGED: "check-check",
    State.FEEDBACK: "message-square",
    State.ARCHIVED: "folder",
    State.WITHDRAWN: "undo-2",
    State.CANCELLED: "ban",
    State.REJECTED: "circle-x",
    State.NO_SHOW: "user-x",
    State.EXPIRED: "timer",
    State.CONVERTED: "arrow-right",
    State.ENTERED_IN_ERROR: "trash-2",
}

# The tone of a state: who has to move. CSS classes badge-<tone>.
STATE_TONE: Mapping[State, str] = {
    State.DRAFT: "quiet",
    State.SUBMITTED: "go",
    State.TRIAGE: "wait",
    State.RETURNED: "wait",
    State.OFFERED: "wait",
    State.ACCEPTED: "go",
    State.SCHEDULED: "go",
    State.CHECKED_IN: "go",
    State.IN_SESSION: "live",
    State.ASYNC_REVIEW: "go",
    State.AWAITING_MATERIAL: "wait",
    State.REPORTING: "go",
    State.SIGNED: "good",
    State.DELIVERED: "good",
    State.ACKNOWLEDGED: "good",
    State.FEEDBACK: "wait",
    State.ARCHIVED: "stop",
    State.WITHDRAWN: "stop",
    State.CANCELLED: "stop",
    State.REJECTED: "bad",
    State.NO_SHOW: "bad",
    State.EXPIRED: "bad",
    State.CONVERTED: "stop",
    State.ENTERED_IN_ERROR: "stop",
}

ROLE: Mapping[Role, str] = {
    Role.CLINIC_DOCTOR: _("申请医生"),
    Role.EXPERT: _("会诊专家"),
    Role.TECHNICIAN: _("技师"),
    Role.DISPATCHER: _("调度员"),
    Role.ORG_ADMIN: _("机构管理员"),
    Role.PLATFORM_ADMIN: _("平台管理员"),
    Role.AUDITOR: _("审计员"),
}

PART: Mapping[Part, str] = {
    Part.REFERRING: _("申请医生"),
    Part.EXPERT: _("会诊专家"),
    Part.REVIEWER: _("审核医生"),
    Part.CHAIR: _("会诊主席"),
    Part.GUEST: _("受邀医生"),
}

SEX: Mapping[Sex, str] = {Sex.MALE: _("男"), Sex.FEMALE: _("女"), Sex.OTHER: _("其他"), Sex.UNKNOWN: _("未知")}

IDENTIFIER: Mapping[IdentifierSystem, str] = {
    IdentifierSystem.RESIDENT_ID: _("身份证"),
    IdentifierSystem.PASSPORT: _("护照"),
    IdentifierSystem.OTHER_DOCUMENT: _("其他证件"),
    IdentifierSystem.CARD: _("就诊卡"),
    IdentifierSystem.LOCAL: _("设备病人号"),
}

OFFER: Mapping[OfferOutcome, str] = {
    OfferOutcome.OPEN: _("等待接诊"),
    OfferOutcome.ACCEPTED: _("已接诊"),
    OfferOutcome.DECLINED: _("未接诊"),
    OfferOutcome.TIMED_OUT: _("超时未接"),
    OfferOutcome.CANCELLED: _("已取消"),
}

SEAT: Mapping[SeatState, str] = {
    SeatState.LOBBY: _("在等候区"),
    SeatState.IN: _("已进入"),
    SeatState.LOST: _("连接中断"),
    SeatState.LEFT: _("已离开"),
    SeatState.REMOVED: _("已移出"),
}

CONSENT: Mapping[ConsentMode, str] = {
    ConsentMode.SIGNATURE: _("屏幕手写签名"),
    ConsentMode.SCAN: _("纸质扫描件"),
    ConsentMode.WITNESSES: _("口头同意，两人见证"),
}

REPORT: Mapping[ReportStatus, str] = {
    ReportStatus.FINAL: _("正式报告"),
    ReportStatus.AMENDED: _("更正报告"),
    ReportStatus.APPENDED: _("补充报告"),
}

MATCH: Mapping[MatchMethod, str] = {
    MatchMethod.ACCESSION: _("按检查号自动匹配"),
    MatchMethod.PATIENT_ID: _("按病人号自动匹配"),
    MatchMethod.MANUAL: _("人工匹配"),
}

TIER: Mapping[Tier, str] = {Tier.CLINIC: _("基层"), Tier.COUNTY: _("县级"), Tier.CITY: _("市级")}

KIND: Mapping[OrganisationKind, str] = {
    OrganisationKind.COMMUNITY_CENTRE: _("社区卫生服务中心"),
    OrganisationKind.TOWNSHIP_HOSPITAL: _("乡镇卫生院"),
    OrganisationKind.HOSPITAL: _("医院"),
    OrganisationKind.IMAGING_CENTRE: _("影像中心"),
    OrganisationKind.ECG_CENTRE: _("心电中心"),
    OrganisationKind.PATHOLOGY_CENTRE: _("病理中心"),
}

LINK: Mapping[LinkKind, str] = {
    LinkKind.PARENT: _("隶属"),
    LinkKind.ALLIANCE: _("医联体"),
    LinkKind.SPECIALTY: _("专科联盟"),
}


# The tabs of each role's top bar: (key, words, address). The first is where `/` begins.
TABS: Mapping[Role, tuple[tuple[str, str, str], ...]] = {
    Role.CLINIC_DOCTOR: (
        ("todo", _("待处理"), "/?tab=todo"),
        ("active", _("进行中"), "/?tab=active"),
        ("inbox", _("收件箱"), "/inbox"),
        ("drafts", _("草稿"), "/?tab=drafts"),
        ("done", _("已完成"), "/?tab=done"),
        ("patients", _("患者档案"), "/patients"),
        ("order-list", _("检查单"), "/orders"),
    ),
    Role.EXPERT: (
        ("todo", _("待处理"), "/?tab=todo"),
        ("active", _("进行中"), "/?tab=active"),
        ("sign", _("待签发"), "/?tab=sign"),
        ("done", _("已完成"), "/?tab=done"),
    ),
    Role.TECHNICIAN: (
        ("orders", _("待检查"), "/?tab=orders"),
        ("todo", _("待补充资料"), "/?tab=todo"),
        ("unmatched", _("未匹配"), "/studies/unmatched"),
        ("upload", _("上传"), "/upload"),
        ("studies", _("全部影像"), "/studies"),
        ("order-list", _("检查单"), "/orders"),
        ("patients", _("患者档案"), "/patients"),
    ),
    Role.DISPATCHER: (
        ("todo", _("待分诊"), "/?tab=todo"),
        ("offered", _("待接诊"), "/?tab=offered"),
        ("overdue", _("超过时限"), "/?tab=overdue"),
        ("active", _("进行中"), "/?tab=active"),
        ("done", _("已完成"), "/?tab=done"),
    ),
    Role.ORG_ADMIN: (
        ("staff", _("人员"), "/admin/staff"),
        ("organisations", _("机构"), "/admin/organisations"),
        ("devices", _("DICOM 设备"), "/admin/devices"),
        ("forwards", _("转发"), "/admin/forwards"),
        ("tokens", _("接口令牌"), "/admin/tokens"),
        ("removals", _("到期移除"), "/admin/removals"),
        ("recordings", _("会诊录制"), "/recordings"),
        ("audit", _("审计"), "/audit"),
    ),
    Role.PLATFORM_ADMIN: (
        ("organisations", _("机构"), "/admin/organisations"),
        ("staff", _("人员"), "/admin/staff"),
        ("audit", _("审计"), "/audit"),
    ),
    Role.AUDITOR: (("audit", _("审计"), "/audit"), ("recordings", _("会诊录制"), "/recordings")),
}


def age_band(patient: Patient, today: date) -> str:
    """'50–59': the decade, all a queue row may tell of an age (DOMAIN §6, q). Empty when unknown."""
    if patient.birth_date is None:
        return ""
    born = patient.birth_date
    years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    low = max(years, 0) // 10 * 10
    return f"{low}–{low + 9}"


def install(environment: Environment) -> None:
    """Gives templates `labels.STATE[state]` and so on; every member of every enumeration has a word."""
    tables = {name: table for name, table in globals().items() if name.isupper() and isinstance(table, dict)}
    tables["ACTION"] = dict(ACTION)
    environment.globals["labels"] = SimpleNamespace(**tables)
    environment.globals["age_band"] = age_band
