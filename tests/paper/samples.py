"""Reports to print: one full page as a hospital would issue it, and whatever a test changes about it."""

import io
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
from PIL import Image

from consult.model import Part, ReportStatus, Service, Urgency
from consult.patient import Sex
from server.paper.content import (
    Diagnosis,
    Institution,
    KeyImage,
    PatientBlock,
    QuestionAnswer,
    ReportContent,
    SignerLine,
)

CHINA = timezone(timedelta(hours=8))
ISSUED = datetime(2026, 11, 22, 10, 42, 7, tzinfo=CHINA)


def picture(kind: str = "JPEG", *, size: tuple[int, int] = (512, 512), mode: str = "L") -> bytes:
    """A disc with soft edge on black, somewhat like a slice."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    radius = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    grey = np.clip(255 * (0.42 - radius) * 6, 0, 200).astype(np.uint8)
    grey[(np.hypot(x - width * 0.6, y - height * 0.45) < width * 0.06)] = 245
    out = io.BytesIO()
    Image.fromarray(grey).convert(mode).save(out, kind)
    return out.getvalue()


def full_report(**changes: Any) -> ReportContent:
    content = ReportContent(
        number="HZ20261122-0042",
        version=1,
        status=ReportStatus.FINAL,
        requesting=Institution(name="东湖街道社区卫生服务中心", department="全科门诊"),
        serving=Institution(name="市第一人民医院", department="心血管内科"),
        patient=PatientBlock(
            name="欧阳建国",
            sex=Sex.MALE,
            age="62岁",
            birth_date=date(1964, 3, 9),
            document_last_four="219X",
            card="K00871234",
        ),
        service=Service.CLINICAL,
        urgency=Urgency.URGENT,
        requested_at=datetime(2026, 11, 22, 9, 5, tzinfo=CHINA),
        issued_at=ISSUED,
        clinic_doctor="李晓梅",
        questions=(
            QuestionAnswer(
                number=1,
                question="患者反复胸闷 3 周，心电图 V4–V6 导联 ST 段压低，是否需要急诊转院？",
                answer="不需要急诊转院。ST 段压低 0.05–0.1 mV，与既往心电图比较无动态变化，肌钙蛋白阴性。\n若静息胸痛超过 20 分钟，立即呼叫 120。",
            ),
            QuestionAnswer(number=2, question="阿司匹林与氯吡格雷是否联用？", answer="目前单用阿司匹林 100 mg qd 即可。"),
        ),
        materials="12 导联心电图 2 份（2026-11-22，2025-06-03）；胸部 CT 平扫 120 层；血常规、肌钙蛋白 I。",
        findings="窦性心律，72 次/分。V4–V6 导联 ST 段水平型压低 0.05–0.1 mV。\n胸部 CT：右肺上叶见直径约 6 mm 实性结节，边界清楚；冠状动脉左前降支钙化。",
        diagnoses=(
            Diagnosis(text="冠状动脉粥样硬化性心脏病，稳定型心绞痛", icd10="I20.8", certainty="probable"),
            Diagnosis(text="右肺上叶实性结节", icd10="R91", certainty="confirmed"),
        ),
        advice="1. 阿司匹林 100 mg qd，阿托伐他汀 20 mg qn，美托洛尔缓释片 47.5 mg qd。\n2. 限盐，戒烟。",
        further_tests="冠状动脉 CTA（两周内）；低剂量胸部 CT 复查（6 个月）。",
        referral_advice="CTA 提示狭窄 ≥ 70 % 时转市第一人民医院心内科门诊。",
        follow_up=date(2026, 12, 6),
        limits="本意见基于所提供的资料，未行现场查体。",
        key_images=(
            KeyImage(
                caption="胸部 CT，第 57 层，肺窗：右肺上叶结节",
                data=picture(),
                study_uid="2.25.1001",
                sop_uid="2.25.314159265358979323846264338327950288419",
            ),
            KeyImage(
                caption="心电图 V4–V6",
                data=picture("PNG", size=(800, 500), mode="RGB"),
                study_uid="2.25.1002",
                sop_uid="2.25.271828182845904523536028747135266249775",
            ),
        ),
        signers=(
            SignerLine(name="王海涛", title="主任医师", licence="110310100012345", organisation="市第一人民医院"),
            SignerLine(
                name="陈思远", title="副主任医师", licence="110310100054321", organisation="市第一人民医院", part=Part.REVIEWER
            ),
        ),
        code="7KQM-3XWD-9RTA",
        verify_url="https://huizhen.example/verify/7KQM-3XWD-9RTA",
        demo=True,
    )
    return replace(content, **changes)
