"""Consultations with a meeting: scheduled, checked in, running, missed, cancelled."""

from __future__ import annotations

from consult import model as m
from consult.requesting import Target
from server.demo.case import Desk
from server.demo.stage import Moments, Stage
from server.demo.tales_asking import Tale


def scheduled(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(addressing=m.Addressing.EXPERT, membership=stage.actors["linzhiyuan"].membership)
        case = desk.case("scheduled", "zhoumin", "wang", target=target, mode=m.Mode.LIVE)
        yield stage.ago(hours=26)
        case.write(
            {
                "department": "全科",
                "patient_present": True,
                "purpose": "哮喘治疗方案请呼吸科视频会诊",
                "complaint": "反复喘息 6 年，夜间憋醒 2 周",
                "history": "支气管哮喘 6 年，布地奈德福莫特罗 160/4.5 μg 每日两次，每次一吸。近 2 周夜间憋醒 3–4 次，"
                "加用沙丁胺醇 1 日 4–5 次。",
                "past_history": "高血压，美托洛尔 25 mg 每日两次。",
                "examination": "呼吸 20 次/分，双肺散在呼气相哮鸣音。",
                "vitals": [{"pulse": 68, "respiration": 20, "systolic": 138, "diastolic": 82, "spo2": 95}],
                "diagnosis": [{"code": "J45.900", "name": "支气管哮喘"}],
            },
            ["如何升级治疗？", "正在使用的美托洛尔是否需要更换？"],
        )
        case.agree("王秀英")
        yield stage.ago(hours=25)
        case.submit()
        yield stage.ago(hours=20)
        case.accept("linzhiyuan")
        case.schedule(stage.ago(minutes=-95))
        yield stage.ago(hours=19)
        case.say("linzhiyuan", "请患者会诊时带上正在用的吸入装置，我想看一下使用方法。", 1)
        yield stage.ago(hours=18, minutes=40)
        case.say("zhoumin", "好的，已通知患者和家属，届时在我院 2 诊室。", 2)

    return tale


def checked_in(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(addressing=m.Addressing.EXPERT, membership=stage.actors["chenyaning"].membership)
        case = desk.case("checked_in", "zhoumin", "chen", target=target, mode=m.Mode.LIVE)
        yield stage.ago(hours=30)
        case.write(
            {
                "department": "全科",
                "patient_present": True,
                "purpose": "孕期心悸，请心内科评估",
                "complaint": "停经 29 周，活动后心悸 2 周",
                "history": "孕 29 周，近 2 周上楼后心悸、气短，休息数分钟缓解，无胸痛、晕厥，无夜间阵发性呼吸困难。",
                "past_history": "既往体健，否认心脏病史。",
                "examination": "心率 96 次/分，律齐，心尖区 2/6 级收缩期杂音，双肺清，双下肢轻度水肿。",
                "vitals": [{"pulse": 96, "systolic": 112, "diastolic": 70, "spo2": 98}],
                "diagnosis": [{"code": "R00.200", "name": "心悸"}, {"code": "Z34.900", "name": "孕 29 周"}],
                "laboratory": "血红蛋白 102 g/L，TSH 1.9 mIU/L。",
                "imaging": "心脏彩超（动态，见影像）。",
            },
            ["心脏彩超是否提示器质性心脏病？", "能否继续在社区产检？"],
        )
        case.agree("陈晓雨")
        case.share("echo")
        yield stage.ago(hours=29)
        case.submit()
        yield stage.ago(hours=27)
        case.accept("chenyaning")
        case.schedule(stage.ago(minutes=-14))
        yield stage.ago(minutes=3)
        case.check_in("zhoumin")

    return tale


def in_session(desk: Desk) -> Tale:
    """An emergency under way: the patient's name is not known yet, the line to both sides is just lost."""

    def tale(stage: Stage) -> Moments:
        case = desk.case("in_session", "luobin", "unknown", mode=m.Mode.LIVE, urgency=m.Urgency.STAT)
        yield stage.ago(minutes=11)
        question = "路边倒地、意识模糊的中年男性，血糖 2.1 mmol/L，推糖后仍嗜睡，下一步怎么办？"
        case.ring(question, "county", ("罗斌", "何涛"))
        yield stage.ago(minutes=10)
        case.accept("gaoming")
        yield stage.ago(minutes=9)
        case.meet("gaoming")
        yield stage.ago(minutes=8)
        case.meet("luobin")
        yield stage.ago(minutes=7)
        case.say("luobin", "50% 葡萄糖 40 ml 推完 5 分钟，复测血糖 5.6，还是嗜睡，GCS 12 分。", 1)
        yield stage.ago(minutes=6)
        case.say("gaoming", "瞳孔怎么样？有没有外伤？身上有没有药瓶或者病历？", 2)
        yield stage.ago(minutes=5)
        case.say("luobin", "瞳孔等大 3 mm，对光灵敏；没有外伤；口袋里有一板格列本脲，吃了 6 片。", 3)
        yield stage.ago(minutes=4)
        advice = "考虑磺脲类低血糖，会反复。10% 葡萄糖 100 ml/h 维持，每 30 分钟测血糖，联系我院急诊转运。"
        case.say("gaoming", advice, 4)
        yield stage.ago(minutes=1)
        case.lines_drop()

    return tale


def no_show(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(addressing=m.Addressing.EXPERT, membership=stage.actors["gaoming"].membership)
        case = desk.case("no_show", "tangyun", "zhou", target=target, mode=m.Mode.LIVE)
        yield stage.ago(days=3)
        case.write(
            {
                "department": "全科",
                "purpose": "新诊断高血压，请指导起始用药",
                "complaint": "体检发现血压升高 1 个月",
                "history": "1 个月来家庭自测血压 150–160/95–100 mmHg，偶有头胀，无胸闷、视物模糊。",
                "past_history": "饮酒 20 年，每日白酒约 150 ml。父亲 55 岁脑出血。",
                "examination": "BMI 28.4，心肺腹未见异常。",
                "vitals": [{"pulse": 80, "systolic": 158, "diastolic": 98}],
                "diagnosis": [{"code": "I10.x00", "name": "高血压病"}],
            },
            ["起始单药还是联合？", "需要排查哪些继发性原因？"],
        )
        case.agree("周国栋")
        yield stage.ago(days=2, hours=22)
        case.submit()
        yield stage.ago(days=2, hours=20)
        case.accept("gaoming")
        case.schedule(stage.ago(hours=21))
        yield stage.ago(hours=20, minutes=35)
        case.no_show("约定时间后等候 25 分钟，诊所未接入；电话联系唐医生，患者外出未归。")

    return tale


def cancelled(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(addressing=m.Addressing.EXPERT, membership=stage.actors["songwen"].membership)
        case = desk.case(
            "cancelled", "luobin", "he", target=target, mode=m.Mode.LIVE, service=m.Service.MATERNAL
        )
        yield stage.ago(days=7, hours=4)
        case.write(
            {
                "department": "妇产科",
                "purpose": "妊娠期血压升高，请产科指导监测",
                "complaint": "孕 37 周，血压升高 2 天",
                "history": "2 天来血压 142/92 mmHg，无头痛、视物模糊，尿蛋白阴性。",
            },
            ["是否需要住院监测？"],
        )
        case.agree("何思琪")
        yield stage.ago(days=7, hours=3)
        case.submit()
        yield stage.ago(days=7, hours=1)
        case.accept("songwen")
        yield stage.ago(days=6, hours=22)
        case.cancel("luobin", "患者已分娩，不再需要本次会诊", "patient")

    return tale


def tales(desk: Desk) -> list[Tale]:
    return [x(desk) for x in (scheduled, checked_in, in_session, no_show, cancelled)]
