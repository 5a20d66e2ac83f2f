"""Consultations read without a meeting: accepted, being read, waiting for material, being written, signed."""

from __future__ import annotations

from consult import model as m
from consult.requesting import Target
from server.demo import papers
from server.demo.case import Desk
from server.demo.stage import Moments, Stage
from server.demo.tales_asking import Tale


def mistaken(desk: Desk) -> Tale:
    """Accepted; the study under the order's number shows another man's liver. Whoever reads it shall find out."""

    def tale(stage: Stage) -> Moments:
        target = Target(addressing=m.Addressing.EXPERT, membership=stage.actors["liuchang"].membership)
        case = desk.case("mistaken", "zhoumin", "liqiang", service=m.Service.IMAGING, target=target)
        yield stage.ago(hours=5)
        case.write(
            {
                "department": "全科",
                "purpose": "腰椎 MR 请出具诊断意见",
                "complaint": "腰痛伴左下肢放射痛 3 周",
                "history": "3 周前搬重物后腰痛，向左小腿外侧放射，咳嗽时加重，无大小便障碍。",
                "examination": "L4/5 棘旁压痛，左直腿抬高试验 40° 阳性，左拇背伸肌力 4 级，鞍区感觉正常。",
                "vitals": [{"pulse": 72, "systolic": 126, "diastolic": 78}],
                "diagnosis": [{"code": "M51.202", "name": "腰椎间盘突出"}],
                "imaging": "影像中心腰椎 MR 平扫（检查单已随申请）。",
            },
            ["突出节段和程度，有无神经根受压？", "是否有急诊手术指征？"],
        )
        case.agree("李强")
        case.share("mistaken")
        yield stage.ago(hours=4, minutes=40)
        case.submit()
        yield stage.ago(minutes=48)
        case.accept("liuchang")

    return tale


def ecg_review(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        case = desk.case(
            "ecg_review", "zhoumin", "wu", service=m.Service.ECG, target=Target(organisation=stage.places["ecg"])
        )
        yield stage.ago(hours=2, minutes=30)
        case.write(
            {
                "department": "全科",
                "purpose": "心电图请诊断",
                "complaint": "阵发心悸 5 天",
                "history": "熬夜后阵发心悸，每次约 1 分钟，自觉“漏跳”，无胸痛、晕厥。无服药。",
                "past_history": "甲状腺结节随访，甲功正常（2026 年 6 月）。",
                "examination": "心率 62 次/分，律齐，未闻及杂音。甲状腺Ⅰ度大。",
                "vitals": [{"pulse": 62, "systolic": 118, "diastolic": 74}],
                "diagnosis": [{"code": "R00.200", "name": "心悸"}],
            },
            ["心电图有无异常？", "是否需要 24 小时动态心电图？"],
        )
        case.agree("吴美玲")
        case.share("ecg_wu")
        yield stage.ago(hours=2, minutes=10)
        case.submit()
        yield stage.ago(hours=2)
        case.offer("qinlan@ecg", place="ecg")
        yield stage.ago(hours=1, minutes=40)
        case.accept("hexinyi")
        yield stage.ago(minutes=22)
        case.read()

    return tale


def awaiting_material(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        case = desk.case(
            "awaiting_material", "zhoumin", "zhang", target=Target(organisation=stage.places["city"])
        )
        yield stage.ago(days=1, hours=2)
        case.write(
            {
                "department": "全科",
                "purpose": "间断胸痛，请判断是否心绞痛",
                "complaint": "间断胸骨后闷痛 3 周",
                "history": "快步走约 300 米出现胸骨后闷痛，休息 3–5 分钟缓解，3 周内共 6 次，夜间无发作。",
                "past_history": "高血压 12 年，血脂异常 5 年未规律服药。青霉素过敏。父亲 60 岁心肌梗死。",
                "allergies": "青霉素（皮疹，2009 年）",
                "examination": "双肺清，心率 72 次/分，律齐，未闻及杂音。",
                "vitals": [{"pulse": 72, "systolic": 148, "diastolic": 86, "spo2": 98}],
                "diagnosis": [{"code": "I20.800", "name": "劳力性心绞痛？"}],
                "medication": "氨氯地平 5 mg 每日一次。",
                "laboratory": "LDL-C 3.9 mmol/L，空腹血糖 5.8 mmol/L。",
            },
            ["是否符合稳定型心绞痛？", "下一步做运动负荷试验还是冠脉 CT？"],
        )
        case.attach("paper_ecg", "纸质心电图（手机拍照）", "paper_ecg", papers.paper_ecg)
        case.agree("张建国")
        yield stage.ago(days=1)
        case.submit()
        yield stage.ago(hours=23)
        case.offer("donghai", expert="chenyaning")
        yield stage.ago(hours=6)
        case.accept("chenyaning")
        yield stage.ago(hours=3)
        case.read()
        yield stage.ago(hours=2, minutes=48)
        case.ask(
            [
                ("安静时十二导联心电图原始数据（请上传设备文件，照片看不清 ST 段）", stage.ago(hours=-22)),
                ("肌钙蛋白、血常规", stage.ago(hours=-46)),
            ]
        )

    return tale


NODULE = {
    "materials": "胸部 CT 平扫 120 层（合成演示数据），纵隔窗、肺窗阅片。",
    "findings": "胸廓对称。右肺中野见一类圆形实性结节，直径约 9 mm，边缘较清，未见明确毛刺及胸膜牵拉；余肺野清晰。"
    "气管及主支气管通畅，纵隔未见明显肿大淋巴结，心影不大，双侧无胸腔积液。所见胸椎骨质未见破坏。",
    "diagnosis": [{"code": "R91.x01", "name": "右肺实性结节（约 9 mm）", "certainty": "confirmed"}],
    "answers": [
        {"n": 1, "text": "右肺中野实性结节，直径约 9 mm，边缘较清。性质待定，按 Lung-RADS 归为 4A。"},
        {"n": 2, "text": "建议 3 个月后薄层低剂量 CT 复查；如有既往 CT 请一并上传对比。"},
    ],
    "advice": "1. 3 个月后复查胸部薄层 CT，观察结节大小及密度变化。\n2. 结节增大或出现实变、毛刺时，"
    "转市一院胸部结节多学科门诊。"
    "\n3. 戒烟，避免二手烟。",
    "further_tests": "可补充肿瘤标志物（CEA、CYFRA21-1、ProGRP），仅供参考，不替代影像随访。",
    "limits": "未见既往影像，无法比较；平扫不能评价强化方式。",
}


def reporting(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        case = desk.case(
            "reporting", "zhoumin", "zhang", service=m.Service.IMAGING,
            target=Target(organisation=stage.places["imaging"]),
        )  # fmt: skip
        yield stage.ago(days=1, hours=20)
        case.write(
            {
                "department": "全科",
                "purpose": "胸部 CT 请影像中心诊断",
                "complaint": "体检胸片发现右肺结节影 1 周",
                "history": "无咳嗽、咯血、胸痛，体重无下降。",
                "past_history": "吸烟 30 年，每日 15 支，未戒。高血压 12 年。青霉素过敏。",
                "family_history": "否认肿瘤家族史。",
                "examination": "浅表淋巴结未触及，双肺呼吸音清，杵状指阴性。",
                "vitals": [{"pulse": 74, "systolic": 142, "diastolic": 84, "spo2": 98}],
                "diagnosis": [{"code": "R91.x01", "name": "肺结节"}],
                "imaging": "影像中心胸部 CT 平扫（见影像）。",
            },
            ["结节的部位、大小和性质？", "随访间隔和下一步处理？"],
        )
        case.agree("张建国")
        case.share("nodule")
        yield stage.ago(days=1, hours=19)
        case.submit()
        yield stage.ago(days=1, hours=18)
        case.offer("qinlan@imaging", expert="liuchang")
        yield stage.ago(hours=5, minutes=30)
        case.accept("liuchang")
        yield stage.ago(hours=1, minutes=20)
        case.read()
        case.draft({"materials": NODULE["materials"]})
        yield stage.ago(minutes=35)
        case.draft(NODULE)

    return tale


ECG_NORMAL = {
    "materials": "十二导联同步心电图原始数据 1 份。",
    "findings": "窦性心律，心率 61 次/分。PR 间期 161 ms，QRS 时限 75 ms，QT/QTc 368/370 ms，QRS 电轴 52°。"
    "各导联 P 波、QRS 波形态正常，ST 段无偏移，T 波直立。",
    "diagnosis": [{"code": "Z01.300", "name": "窦性心律，正常心电图", "certainty": "confirmed"}],
    "answers": [
        {"n": 1, "text": "窦性心律，心电图在正常范围，未见缺血及心律失常。"},
        {"n": 2, "text": "单次心电图正常不能除外阵发性心律失常；如仍有发作，建议行 24 小时动态心电图。"},
    ],
    "advice": "发作时尽快描记心电图；每周记录血压、脉搏 3 次，两周后复诊。",
    "limits": "仅对本次描记的 10 秒负责。",
}


def delivered(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        case = desk.case(
            "delivered", "zhoumin", "wang", service=m.Service.ECG, target=Target(organisation=stage.places["ecg"])
        )
        yield stage.ago(hours=9)
        case.write(
            {
                "department": "全科",
                "purpose": "心电图请诊断",
                "complaint": "头晕、心悸 2 天",
                "history": "近 2 天站立时头晕，偶有心悸，无胸痛、黑矇。美托洛尔 25 mg 每日两次。",
                "examination": "血压 138/82 mmHg，心率 62 次/分，律齐。",
                "diagnosis": [{"code": "R42.x00", "name": "头晕"}],
            },
            ["心电图诊断？", "是否需要进一步动态心电图？"],
        )
        case.agree("王秀英")
        case.share("ecg_wang")
        yield stage.ago(hours=8, minutes=40)
        case.submit()
        yield stage.ago(hours=8, minutes=20)
        case.offer("qinlan@ecg", place="ecg")
        yield stage.ago(hours=7)
        case.accept("hexinyi")
        yield stage.ago(hours=3, minutes=40)
        case.read()
        case.draft(ECG_NORMAL)
        yield stage.ago(hours=3, minutes=20)
        case.sign()

    return tale


LIVER = {
    "materials": "上腹部 MR 增强图像 1 组。",
    "findings": "肝右叶见一类圆形异常信号灶，边界较清，周边见环形强化；胆囊不大。双肾显影好，"
    "腹膜后未见明显肿大淋巴结。",
    "diagnosis": [{"code": "K76.807", "name": "肝右叶占位性病变，性质待定", "certainty": "possible"}],
    "answers": [{"n": 1, "text": "肝右叶占位，单期图像不足以定性，需除外恶性病变。"}],
    "advice": "1. 一周内到市一院肝胆外科就诊，携带全部影像。\n2. 完善甲胎蛋白、异常凝血酶原、乙肝五项。",
    "referral_advice": "建议转市一院肝胆外科门诊，影像中心可协助预约多期增强 MR。",
    "limits": "只收到一组图像，缺动脉期和弥散序列。",
}


def acknowledged(desk: Desk) -> Tale:
    """Signed, acknowledged, and amended a day later when the clinic's question showed what was missing."""

    def tale(stage: Stage) -> Moments:
        case = desk.case(
            "acknowledged", "luobin", "zhao", service=m.Service.IMAGING,
            target=Target(organisation=stage.places["imaging"]),
        )  # fmt: skip
        yield stage.ago(days=6)
        case.write(
            {
                "department": "内科",
                "purpose": "县医院上腹部 MR 请会诊",
                "complaint": "体检 B 超发现肝占位 10 天",
                "history": "无腹痛、黄疸，食欲正常，体重无变化。",
                "past_history": "高血压 6 年。否认肝炎史，未查乙肝。",
                "examination": "肝肋下未及，无压痛。",
                "diagnosis": [{"code": "K76.807", "name": "肝占位性病变"}],
                "imaging": "县医院上腹部 MR 增强（见影像）。",
            },
            ["肝脏病变的性质，下一步怎么处理？"],
        )
        case.agree("赵德海")
        yield stage.ago(days=5, hours=23)
        case.share("liver")
        case.submit()
        yield stage.ago(days=5, hours=21)
        case.offer("qinlan@imaging", expert="liuchang")
        yield stage.ago(days=5, hours=18)
        case.accept("liuchang")
        yield stage.ago(days=5, hours=3)
        case.read()
        case.draft(LIVER)
        yield stage.ago(days=5, hours=2)
        case.sign()
        yield stage.ago(days=4, hours=23)
        case.acknowledge()
        yield stage.ago(days=4, hours=2)
        case.amend("补充对口服抗高血压药的说明")
        case.draft({**LIVER, "advice": f"{LIVER['advice']}\n3. 就诊前不必停用现有降压药。"})
        yield stage.ago(days=4, hours=1)
        case.sign()
        yield stage.ago(days=3, hours=20)
        case.acknowledge()

    return tale


def tales(desk: Desk) -> list[Tale]:
    return [
        x(desk) for x in (mistaken, ecg_review, awaiting_material, reporting, delivered, acknowledged)
    ]
