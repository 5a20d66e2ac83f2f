"""The words printed by the house: Chinese in the source, English from locale/en/paper.po.

Paper has a language of its own (that of the report, not of whoever looks at it), so it does not follow the request.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po

from consult.model import Part, ReportStatus, Service, Urgency
from consult.patient import Sex
from server.paper.content import Language

_LOCALE = Path(__file__).resolve().parent.parent / "locale"


def _(text: str) -> str:
    """Marks a source string for Babel; the lookup happens in `translator`."""
    return text


SEX: Mapping[Sex, str] = {Sex.MALE: _("男"), Sex.FEMALE: _("女"), Sex.OTHER: _("其他"), Sex.UNKNOWN: _("未知")}

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

URGENCY: Mapping[Urgency, str] = {
    Urgency.ROUTINE: _("常规"),
    Urgency.URGENT: _("加急"),
    Urgency.STAT: _("急会诊"),
}

PART: Mapping[Part, str] = {
    Part.REFERRING: _("申请医生"),
    Part.EXPERT: _("会诊专家"),
    Part.REVIEWER: _("审核医生"),
    Part.CHAIR: _("会诊主席"),
    Part.GUEST: _("受邀医生"),
}

STATUS: Mapping[ReportStatus, str] = {
    ReportStatus.FINAL: _("正式报告"),
    ReportStatus.AMENDED: _("更正报告"),
    ReportStatus.APPENDED: _("补充报告"),
}

CERTAINTY: Mapping[str, str] = {
    "confirmed": _("明确"),
    "probable": _("很可能"),
    "possible": _("可能"),
    "excluded": _("排除"),
}

LABELS: Mapping[str, str] = {
    "title": _("远程会诊报告"),
    "number": _("会诊编号"),
    "version": _("第 {n} 版"),
    "name": _("姓名"),
    "sex": _("性别"),
    "age": _("年龄"),
    "birth_date": _("出生日期"),
    "document": _("证件后四位"),
    "card": _("就诊卡号"),
    "requesting": _("申请机构"),
    "serving": _("会诊机构"),
    "doctor": _("申请医生"),
    "service": _("服务类型"),
    "urgency": _("紧急程度"),
    "requested_at": _("申请时间"),
    "issued_at": _("报告时间"),
    "critical": _("危急值：请立即处理，并按规定登记和回报"),
    "reason_amended": _("更正原因"),
    "reason_appended": _("补充原因"),
    "questions": _("会诊问题与答复"),
    "question": _("问题 {n}"),
    "answer": _("答复"),
    "materials": _("所阅资料"),
    "findings": _("所见"),
    "diagnoses": _("诊断意见"),
    "diagnosis": _("诊断"),
    "icd10": _("ICD-10 编码"),
    "certainty": _("确定程度"),
    "advice": _("处理建议"),
    "further_tests": _("进一步检查"),
    "referral_advice": _("转诊建议"),
    "follow_up": _("随访日期"),
    "limits": _("意见的局限"),
    "key_images": _("关键图像"),
    "image": _("图 {n}"),
    "frame": _("第 {n} 帧"),
    "signatures": _("签名"),
    "licence": _("执业证书号"),
    "signed_note": _("本报告由上列医师以个人证书电子签名，纸面不另签字。"),
    "code": _("验证码"),
    "verify": _("验证真伪"),
    "page": _("第 {page} / {pages} 页"),
    "demo": _("演示数据，不得用于诊疗"),
    "colon": _("："),
}


@cache
def _catalogue(language: Language) -> Mapping[str, str]:
    if language == "zh":
        return {}
    with (_LOCALE / language / "paper.po").open("rb") as file:
        return {
            entry.id: entry.string
            for entry in read_po(file, locale=language)
            if isinstance(entry.id, str) and isinstance(entry.string, str) and entry.string
        }


def translator(language: Language) -> Callable[[str], str]:
    """A function from a Chinese source string to the string in `language`; what has no translation stays Chinese."""
    catalogue = _catalogue(language)
    return lambda text: catalogue.get(text, text)
