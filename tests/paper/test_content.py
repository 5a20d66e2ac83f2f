"""The canonical content: the same report always gives the same bytes, any difference gives others."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from datetime import date, datetime, timedelta

import pytest
from babel.messages.pofile import read_po

from consult.errors import Invalid
from consult.model import Part, ReportStatus, Service, Urgency
from consult.patient import Sex
from server.paper import verify_words, words
from server.paper.content import Diagnosis, Institution, canonical_json, content_digest
from server.paper.plaintext import plain_text
from tests.paper.samples import full_report, picture


def test_canonical_json_is_stable_to_the_byte():
    content = full_report(key_images=())
    assert hashlib.sha256(canonical_json(content)).hexdigest() == content_digest(content)
    # A change of this digest means that stored digests of old reports can no longer be recomputed.
    assert content_digest(content) == "72e14c7121558748695f5317f0e84d69957dacf30425c44d7f404635ffb08832"


def test_canonical_json_has_sorted_keys_and_plain_utf8():
    data = canonical_json(full_report())
    assert data == json.dumps(
        json.loads(data), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    ).encode()
    assert "欧阳建国".encode() in data


CHANGED = {
    "number": "X1", "version": 2, "status": ReportStatus.AMENDED, "reason": "笔误",
    "requesting": Institution(name="另一家"), "serving": Institution(name="另一家"),
    "service": Service.ECG, "urgency": Urgency.STAT, "clinic_doctor": "x", "questions": (), "materials": "x",
    "findings": "x", "diagnoses": (Diagnosis(text="x"),), "advice": "x", "further_tests": "x", "referral_advice": "x",
    "follow_up": date(2027, 1, 1), "critical": True, "limits": "x", "key_images": (), "signers": (),
    "code": "AAAA-BBBB", "verify_url": "https://x.example/", "demo": False, "language": "en",
}  # fmt: skip


def test_every_field_counts_in_the_digest():
    content = full_report()
    later = timedelta(minutes=1)
    changes = CHANGED | {
        "patient": replace(content.patient, sex=Sex.FEMALE),
        "requested_at": content.requested_at + later,
        "issued_at": content.issued_at + later,
    }
    assert set(changes) == {field.name for field in fields(content)}
    digests = {content_digest(replace(content, **{name: value})) for name, value in changes.items()}
    assert len(digests) == len(changes)
    assert content_digest(content) not in digests


def test_another_picture_under_the_same_caption_counts():
    content = full_report()
    other = replace(content.key_images[0], data=picture(size=(512, 500)))
    assert content_digest(content) != content_digest(replace(content, key_images=(other, content.key_images[1])))


def test_times_without_zone_lone_surrogates_and_endless_text_are_refused():
    with pytest.raises(ValueError, match="zone"):
        full_report(issued_at=datetime(2026, 1, 1))
    with pytest.raises(Invalid) as refused:
        canonical_json(full_report(findings="\ud800"))
    assert refused.value.fields[0][:2] == ("report", "not_text")
    with pytest.raises(Invalid) as refused:
        canonical_json(full_report(findings="无" * 200_000))
    assert refused.value.fields[0][:2] == ("report", "too_long")


def test_the_text_for_the_hospital_system_says_what_the_page_says():
    text = plain_text(full_report())
    for part in (
        "姓名：欧阳建国", "性别：男", "申请机构：东湖街道社区卫生服务中心 全科门诊", "问题 1：患者反复胸闷",
        "答复：目前单用阿司匹林", "冠状动脉粥样硬化性心脏病，稳定型心绞痛 I20.8 很可能", "【处理建议】",
        "会诊专家：王海涛 主任医师 市第一人民医院 执业证书号 110310100012345", "7KQM-3XWD-9RTA",
    ):  # fmt: skip
        assert part in text
    assert "危急值" not in text
    assert "危急值" in plain_text(full_report(critical=True))
    empty = plain_text(full_report(findings=" ", advice=""))
    assert "【所见】" not in empty
    assert "【处理建议】" not in empty


def _han(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def test_every_word_of_the_house_has_its_english():
    say = words.translator("en")
    tables = [words.SEX, words.SERVICE, words.URGENCY, words.PART, words.STATUS, words.CERTAINTY, words.LABELS]
    sources = [text for table in tables for text in table.values()]
    sources += [*verify_words.REASONS.values(), verify_words._SIGNED_BY]
    assert [text for text in sources if _han(say(text)) or say(text) == "："] == []
    assert set(words.PART) == set(Part)
    assert set(words.SERVICE) == set(Service)
    with (words._LOCALE / "en" / "paper.po").open("rb") as file:
        catalogue = {entry.id for entry in read_po(file) if entry.id}
    assert catalogue == set(sources)
