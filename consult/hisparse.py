"""Text pasted from a hospital information system → fields of the request form. Nothing of it is lost."""

import re
import unicodedata

# Heading → field of forms.FORM_FIELDS. Longer headings win over their beginnings.
HEADINGS = {
    "主诉": "complaint",
    "病人主诉": "complaint",
    "主要症状": "complaint",
    "现病史": "history",
    "病史": "history",
    "简要病史": "history",
    "病情摘要": "history",
    "病情介绍": "history",
    "既往史": "past_history",
    "既往病史": "past_history",
    "手术史": "past_history",
    "外伤史": "past_history",
    "输血史": "past_history",
    "个人史": "personal_history",
    "婚育史": "personal_history",
    "婚姻史": "personal_history",
    "生育史": "personal_history",
    "月经史": "personal_history",
    "家族史": "family_history",
    "过敏史": "allergies",
    "药物过敏史": "allergies",
    "食物药物过敏史": "allergies",
    "体格检查": "examination",
    "查体": "examination",
    "体检": "examination",
    "体征": "examination",
    "专科检查": "examination",
    "生命体征": "examination",
    "辅助检查": "laboratory",
    "实验室检查": "laboratory",
    "检验结果": "laboratory",
    "化验结果": "laboratory",
    "检验": "laboratory",
    "影像学检查": "imaging",
    "影像检查": "imaging",
    "检查结果": "imaging",
    "诊断": "diagnosis_text",
    "初步诊断": "diagnosis_text",
    "目前诊断": "diagnosis_text",
    "入院诊断": "diagnosis_text",
    "临床诊断": "diagnosis_text",
    "门诊诊断": "diagnosis_text",
    "西医诊断": "diagnosis_text",
    "中医诊断": "diagnosis_text",
    "诊疗经过": "treatment",
    "治疗经过": "treatment",
    "治疗": "treatment",
    "处理": "treatment",
    "处理意见": "treatment",
    "目前治疗": "treatment",
    "用药": "medication",
    "目前用药": "medication",
    "用药情况": "medication",
    "医嘱": "medication",
    "处方": "medication",
    "会诊目的": "purpose",
    "会诊理由": "purpose",
    "会诊目的和要求": "purpose",
    "申请会诊目的": "purpose",
    "会诊问题": "purpose",
}
_PREFIX = re.compile(r"^[\s(（【\[〔<《]*(?:[0-9]{1,2}|[一二三四五六七八九十]{1,3})?[、.．)）\s]*")
_AFTER = re.compile(r"^(?:[】\]〕>》)）]+\s*[:：]?|\s*[:：]|\s*$|\s)\s*")
_BRACKETED = re.compile(r"^\s*[【\[〔《<]")
_ORDER = sorted(HEADINGS, key=len, reverse=True)
# A heading inside a line counts where a sentence has just ended and a colon follows it.
_INLINE = re.compile(
    r"(?:(?<=[。；;\s])|(?=[【\[〔]))(?=[【\[〔]?(?:" + "|".join(map(re.escape, _ORDER)) + r")[】\]〕]?[:：])"
)


def parse_his_text(text: str) -> dict[str, str]:
    """Sorts the text under its headings (主诉 现病史 既往史 过敏史 体格检查 诊断 …) into form fields.

    What stands before the first heading lands in `history`; what stands under a heading nobody knows stays, heading
    and all, with the text before it. A field met twice gets both parts, the second under its own heading.
    Returns only fields with text.
    """
    found: dict[str, list[str]] = {}
    field, heading = "history", ""
    for line in _lines(text):
        named = _heading(line)
        if named is not None:
            heading, line = named
            field = HEADINGS[heading]
            if found.get(field) and line:
                line = f"{heading}：{line}"
        if line.strip():
            found.setdefault(field, []).append(line.strip())
    return {key: "\n".join(parts) for key, parts in found.items()}


def _lines(text: str) -> list[str]:
    whole = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").replace("\u3000", " ")
    return [piece for line in whole.split("\n") for piece in _INLINE.split(line)]


def _heading(line: str) -> tuple[str, str] | None:
    """The heading that the line begins with and the rest of the line."""
    bare = _PREFIX.sub("", line, count=1)
    for heading in _ORDER:
        if not bare.startswith(heading):
            continue
        rest = bare[len(heading) :]
        after = _AFTER.match(rest)
        bracketed = _BRACKETED.match(line) is not None
        if after is None:
            return None
        gap = rest[: after.end()]
        if gap.strip() or not rest.strip() or bracketed or "\t" in gap or len(gap) > 1:
            return heading, rest[after.end() :]
        return None
    return None
