"""Phrases for the report editor. Source strings are Chinese; server/locale translates them for the English page."""

from dataclasses import dataclass

from consult.model import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    field: str                         # of forms.REPORT_FIELDS, or "answers"
    text: str


_EVERYWHERE = (
    ("answers", "结合现有资料，考虑如下："),
    ("answers", "现有资料不足以回答，建议补充检查后再评估。"),
    ("advice", "建议在当地继续治疗，病情变化时随时联系。"),
    ("advice", "建议转上级医院进一步诊治。"),
    ("further_tests", "建议复查血常规、肝肾功能及电解质。"),
    ("limits", "本意见仅依据所提供的资料，未能当面诊察患者。"),
    ("limits", "资料质量欠佳，意见仅供参考。"),
)
_BY_SERVICE = {
    Service.CLINICAL: (
        ("diagnosis_text", "目前诊断成立，治疗方案合理，可继续执行。"),
        ("advice", "建议调整用药，具体剂量根据当地检查结果确定。"),
    ),
    Service.IMAGING: (
        ("findings", "所示层面未见明显异常。"),
        ("findings", "两肺纹理清晰，未见明确实质性病变。"),
        ("findings", "颅内未见明确出血及占位征象。"),
        ("further_tests", "建议增强扫描进一步明确。"),
        ("advice", "建议三个月后复查对比。"),
    ),
    Service.ECG: (
        ("findings", "窦性心律，正常心电图。"),
        ("findings", "窦性心律，ST-T 改变。"),
        ("findings", "心房颤动，心室率不规则。"),
        ("advice", "请结合临床及心肌损伤标志物动态观察。"),
        ("advice", "急性心肌梗死可能，请立即启动胸痛绿色通道。"),
    ),
    Service.PATHOLOGY: (("findings", "送检组织镜下未见明确恶性证据。"),),
    Service.LABORATORY: (("findings", "结果在参考范围内，请结合临床。"),),
    Service.CHRONIC: (("advice", "血压、血糖控制达标，按原方案续方并定期随访。"),),
    Service.PRENATAL: (("advice", "建议产前诊断门诊进一步咨询。"),),
    Service.MATERNAL: (("advice", "立即建立两路静脉通道，监测生命体征，做好转运准备。"),),
}


def phrases(service: Service) -> tuple[Phrase, ...]:
    """Those of the service first, then those for every report."""
    return tuple(Phrase(field=f, text=t) for f, t in (*_BY_SERVICE.get(service, ()), *_EVERYWHERE))
