"""Consultations of some weeks ago, whose loop closes: one waits for its 30-day outcome, one is archived."""

from __future__ import annotations

from consult import model as m
from consult.feedback import GivenFeedback
from consult.feedback_entry import Adoption, Outcome
from consult.requesting import Target
from server.demo.case import Desk
from server.demo.stage import Moments, Stage
from server.demo.tales_asking import Tale

PRESSURE = {
    "materials": "病历摘要、近两周家庭血压记录。",
    "findings": "家庭血压晨峰明显，晨起 150–164/84–92 mmHg，睡前 128–136/72–78 mmHg；肾功能、血钾正常。",
    "diagnosis": [{"code": "I10.x05", "name": "高血压病 2 级，晨峰高血压", "certainty": "confirmed"}],
    "answers": [
        {"n": 1, "text": "可以。建议把长效钙拮抗剂改为睡前服用，晨起加服小剂量 ARB，两周后复查血钾、肌酐。"},
        {"n": 2, "text": "目标家庭血压低于 135/85 mmHg；能耐受时再下调。"},
    ],
    "advice": "限盐，晨起缓慢起身；出现头晕、黑矇及时测量立卧位血压。",
    "limits": "未见患者，未行动态血压监测。",
}
PALPITATION = {
    "materials": "病历摘要、门诊心电图报告 1 份。",
    "findings": "心悸多在情绪激动时出现，数分钟自行缓解，无晕厥及猝死家族史；门诊心电图为偶发房性早搏。",
    "diagnosis": [{"code": "I49.100", "name": "偶发房性早搏", "certainty": "probable"}],
    "answers": [{"n": 1, "text": "偶发房性早搏无需抗心律失常药物；先查甲功、电解质，减少浓茶、熬夜。"}],
    "advice": "发作频繁或持续超过 30 分钟，做 24 小时动态心电图。",
    "limits": "未见发作时心电图。",
}


def feedback(desk: Desk) -> Tale:
    """The outcome at seven days was told; the one at thirty may be told now."""

    def tale(stage: Stage) -> Moments:
        target = Target(addressing=m.Addressing.EXPERT, membership=stage.actors["chenyaning"].membership)
        case = desk.case("feedback", "zhoumin", "liu", target=target)
        yield stage.ago(days=28, hours=6)
        case.write(
            {
                "department": "全科",
                "purpose": "晨起血压控制不佳，请指导调整用药",
                "complaint": "晨起头胀 1 月",
                "history": "高血压 12 年，氨氯地平 5 mg 每晨一次；近 1 月晨起头胀，家庭血压晨起偏高。",
                "past_history": "含碘对比剂过敏；否认糖尿病、冠心病。",
                "examination": "血压 152/86 mmHg，心率 72 次/分，律齐，双下肢无水肿。",
                "vitals": [{"pulse": 72, "systolic": 152, "diastolic": 86}],
                "diagnosis": [{"code": "I10.x05", "name": "高血压病 2 级"}],
                "laboratory": "血钾 4.2 mmol/L，肌酐 71 μmol/L。",
            },
            ["服药时间和种类是否需要调整？", "血压控制目标？"],
        )
        case.agree("刘志强", "child")
        yield stage.ago(days=28, hours=5)
        case.submit()
        yield stage.ago(days=27, hours=23)
        case.accept("chenyaning")
        yield stage.ago(days=27, hours=4)
        case.read()
        case.draft(PRESSURE)
        yield stage.ago(days=27, hours=3)
        case.sign()
        yield stage.ago(days=26, hours=5)
        case.acknowledge()
        yield stage.ago(days=18, hours=2)
        case.tell(
            GivenFeedback(
                day=7, adoption=Adoption.PARTLY, reason="患者担心起夜，氨氯地平仍在晨起服用", plan_changed=True,
                done="加用缬沙坦 80 mg，血钾、肌酐复查正常", outcome=Outcome.IMPROVED, rating=5,
                comment="目标值写得很清楚，患者也看得懂。",
            )
        )  # fmt: skip

    return tale


def archived(desk: Desk) -> Tale:
    """Both outcomes were told, and both sides rated each other."""

    def tale(stage: Stage) -> Moments:
        target = Target(addressing=m.Addressing.EXPERT, membership=stage.actors["chenyaning"].membership)
        case = desk.case("archived", "zhoumin", "huang", target=target)
        yield stage.ago(days=40, hours=7)
        case.write(
            {
                "department": "全科",
                "purpose": "反复心悸，请指导检查和用药",
                "complaint": "反复心悸 2 月",
                "history": "情绪激动时心悸，数分钟自行缓解，无胸痛、晕厥。",
                "family_history": "无猝死家族史。",
                "examination": "心率 76 次/分，偶闻早搏，未闻及杂音。",
                "diagnosis": [{"code": "R00.200", "name": "心悸"}],
            },
            ["是否需要药物治疗，下一步检查？"],
        )
        case.agree("黄丽华")
        yield stage.ago(days=40, hours=6)
        case.submit()
        yield stage.ago(days=39, hours=22)
        case.accept("chenyaning")
        yield stage.ago(days=39, hours=4)
        case.read()
        case.draft(PALPITATION)
        yield stage.ago(days=39, hours=3)
        case.sign()
        yield stage.ago(days=39, hours=2, minutes=50)
        case.rate(4, "病史清楚；下次请附上心电图原图。")
        yield stage.ago(days=38, hours=5)
        case.acknowledge()
        yield stage.ago(days=30, hours=4)
        told = GivenFeedback(
            day=7, adoption=Adoption.ADOPTED, plan_changed=False, done="甲功、电解质正常，嘱减少浓茶",
            outcome=Outcome.UNCHANGED, rating=5,
        )  # fmt: skip
        case.tell(told)
        yield stage.ago(days=7, hours=3)
        case.tell(
            GivenFeedback(
                day=30, adoption=Adoption.ADOPTED, plan_changed=False, done="未用药", outcome=Outcome.IMPROVED,
                comment="近两周未再发作，谢谢。",
            )
        )  # fmt: skip

    return tale


def tales(desk: Desk) -> list[Tale]:
    return [feedback(desk), archived(desk)]
