"""Consultations that wait for somebody to take them up: drafts, submitted, in triage, returned, offered, expired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from consult import model as m
from consult.escalating import expire_returned
from consult.requesting import Target
from server.demo import papers
from server.demo.case import Desk
from server.demo.stage import Moments, Stage

Tale = Callable[[Stage], Moments]


def draft(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        case = desk.case("draft", "zhoumin", "huang")
        yield stage.ago(hours=1, minutes=10)
        case.write(
            {
                "department": "全科",
                "purpose": "颈部包块请指导下一步检查",
                "complaint": "发现颈部包块 2 周",
                "history": "患者 2 周前洗澡时触及左侧颈部包块，约花生米大小，无疼痛，无发热、盗汗，体重无明显变化。",
                "examination": "左侧颈部Ⅲ区可触及 1.5 cm×1.0 cm 结节，质中，活动可，无压痛；甲状腺未触及肿大。",
            },
            ["颈部淋巴结是否需要穿刺活检？"],
        )

    return tale


def submitted(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(organisation=stage.places["city"])
        case = desk.case("submitted", "xujian", "qian", service=m.Service.CHRONIC, target=target)
        yield stage.ago(minutes=52)
        case.write(
            {
                "department": "全科",
                "purpose": "血糖控制不佳，请内分泌方向专家指导降糖方案",
                "complaint": "多饮、多尿 8 年，血糖控制不佳 3 个月",
                "history": "2 型糖尿病 8 年，口服二甲双胍 0.5 g 每日三次、格列美脲 2 mg 每日一次。"
                "近 3 个月空腹血糖 9.5–12 mmol/L，"
                "餐后 2 小时 14–17 mmol/L，自觉双足麻木。否认低血糖发作。",
                "past_history": "高血压 10 年，氨氯地平 5 mg 每日一次，血压控制在 140/85 mmHg 左右。",
                "allergies": "无",
                "examination": "身高 156 cm，体重 68 kg。双足皮肤完整，足背动脉搏动可，"
                "10 g 尼龙丝检查双侧足底各 3/10 点感觉减退。",
                "vitals": [{"temperature": 36.5, "pulse": 76, "systolic": 142, "diastolic": 84, "glucose": 11.2}],
                "diagnosis": [
                    {"code": "E11.900", "name": "2 型糖尿病"},
                    {"code": "I10.x00", "name": "高血压病"},
                ],
                "laboratory": "HbA1c 9.4%；肌酐 71 μmol/L，eGFR 82；尿白蛋白/肌酐 68 mg/g；ALT 24 U/L。",
            },
            ["降糖方案如何调整，是否需要起始基础胰岛素？", "合并微量白蛋白尿，是否需要更换降压药？"],
        )
        case.agree("钱玉珍")
        yield stage.ago(minutes=44)
        case.submit()

    return tale


def triage(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(organisation=stage.places["county"])
        case = desk.case("triage", "tangyun@shiqiao", "ma", target=target)
        yield stage.ago(hours=3, minutes=5)
        case.write(
            {
                "department": "内科",
                "purpose": "慢阻肺频繁加重，请指导吸入药物",
                "complaint": "反复咳嗽、咳痰 15 年，活动后气促 5 年，加重 3 天",
                "history": "患者 15 年来每逢冬春季咳嗽、咳白痰，5 年前出现活动后气促，本年度已加重住院 2 次。"
                "3 天前受凉后"
                "咳黄痰，气促加重，无胸痛、咯血。现用沙丁胺醇按需吸入。",
                "past_history": "吸烟 40 年，每日 20 支，戒烟 2 年。阿司匹林诱发哮喘发作史。",
                "examination": "神清，口唇无发绀，桶状胸，双肺呼吸音低，散在哮鸣音。双下肢无水肿。",
                "vitals": [
                    {"temperature": 37.2, "pulse": 92, "respiration": 22, "systolic": 136, "diastolic": 78, "spo2": 93}
                ],
                "diagnosis": [{"code": "J44.101", "name": "慢性阻塞性肺疾病急性加重"}],
                "treatment": "阿莫西林克拉维酸、氨溴索口服 3 天，气促稍减轻。",
            },
            ["稳定期吸入方案建议（需避免哪些药物）？", "是否具备家庭氧疗指征？"],
        )
        case.agree("马成")
        case.share("spine")
        yield stage.ago(hours=2, minutes=50)
        case.submit()
        yield stage.ago(minutes=26)
        case.receive("shaoqin")

    return tale


def returned(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(organisation=stage.places["city"])
        case = desk.case("returned", "zhoumin", "liqiang", target=target)
        yield stage.ago(hours=22)
        case.write(
            {
                "department": "全科",
                "purpose": "反复上腹痛，请指导下一步检查",
                "complaint": "反复上腹隐痛 2 个月",
                "history": "餐后上腹隐痛，伴反酸、嗳气，无黑便，体重下降约 2 kg。自服奥美拉唑 1 周稍缓解。",
                "examination": "腹软，剑突下轻压痛，无反跳痛，肝脾肋下未及。",
                "diagnosis": [{"code": "K29.500", "name": "慢性胃炎？"}],
            },
            ["是否需要立即胃镜检查？"],
        )
        case.agree("李强")
        yield stage.ago(hours=21)
        case.submit()
        yield stage.ago(hours=4, minutes=30)
        case.send_back(
            "donghai",
            [
                ("血常规、便潜血结果", stage.ago(hours=-20)),
                ("幽门螺杆菌检测（呼气试验或抗原）", stage.ago(hours=-28)),
            ],
            note="资料补齐后即可安排消化内科专家，无需重新申请。",
        )

    return tale


def offered_named(desk: Desk) -> Tale:
    """A direct request: it waits for this expert more than a working day."""

    def tale(stage: Stage) -> Moments:
        target = Target(addressing=m.Addressing.EXPERT, membership=stage.actors["chenyaning"].membership)
        case = desk.case("offered_named", "zhoumin", "liu", target=target, mode=m.Mode.LIVE)
        yield stage.ago(hours=2, minutes=20)
        start = stage.start.replace(minute=0, second=0, microsecond=0)
        case.write(
            {
                "department": "全科",
                "purpose": "高龄高血压合并阵发心悸，请陈主任视频会诊",
                "wanted_title": "主任医师",
                "windows": [
                    {"start": _iso(start, 20), "end": _iso(start, 22)},
                    {"start": _iso(start, 44), "end": _iso(start, 46)},
                ],
                "complaint": "血压波动 1 个月，阵发心悸 1 周",
                "history": "高血压 20 余年，现服缬沙坦 80 mg、氨氯地平 5 mg。近 1 个月清晨血压 165–178/70 mmHg，"
                "午后偏低"
                "（最低 104/58 mmHg）伴头晕。近 1 周阵发心悸，每次数分钟自行缓解，无黑矇、晕厥。",
                "past_history": "2018 年增强 CT 注射含碘对比剂后荨麻疹。磺胺类过敏。",
                "allergies": "磺胺类；含碘对比剂",
                "examination": "心界不大，心率 78 次/分，律齐，A2 亢进，主动脉瓣区 2/6 级收缩期杂音。双下肢轻度水肿。",
                "vitals": [{"pulse": 78, "systolic": 168, "diastolic": 72, "spo2": 97}],
                "diagnosis": [
                    {"code": "I10.x05", "name": "高血压病 3 级 很高危"},
                    {"code": "R00.200", "name": "心悸"},
                ],
                "medication": "缬沙坦 80 mg 每日一次；氨氯地平 5 mg 每日一次。",
                "laboratory": "血钾 4.1 mmol/L，肌酐 88 μmol/L，NT-proBNP 410 pg/mL。",
            },
            ["清晨高血压如何调整用药时间和剂量？", "阵发心悸是否需要动态心电图？", "磺胺过敏，能否使用利尿剂？"],
        )
        case.attach("paper_ecg", "纸质心电图（手机拍照）", "paper_ecg", papers.paper_ecg)
        case.agree("刘桂芳")
        yield stage.ago(hours=2)
        case.submit()

    return tale


def offered_pool(desk: Desk) -> Tale:
    """A routine read for whoever is on call at the imaging centre."""

    def tale(stage: Stage) -> Moments:
        case = desk.case(
            "offered_pool", "tangyun", "zhou",
            service=m.Service.IMAGING, target=Target(organisation=stage.places["imaging"]),
        )  # fmt: skip
        yield stage.ago(hours=6, minutes=40)
        case.write(
            {
                "department": "全科",
                "purpose": "头颅 CT 请上级复核",
                "complaint": "头痛 3 天",
                "history": "3 天前饮酒后跌倒，枕部着地，当时无意识丧失，之后持续胀痛，无呕吐。"
                "口服阿司匹林 100 mg/日（自行停 1 天）。",
                "examination": "神志清楚，枕部头皮血肿约 3 cm，颈软，四肢肌力 5 级，病理征阴性。",
                "vitals": [{"pulse": 74, "systolic": 146, "diastolic": 88}],
                "diagnosis": [{"code": "S06.902", "name": "头部外伤"}],
                "imaging": "县医院头颅 CT 平扫（见影像），本院未出报告。",
            },
            ["有无颅内出血或硬膜下积液？", "抗血小板药何时可以恢复？"],
        )
        case.agree("周国栋")
        case.share("head")
        yield stage.ago(hours=6, minutes=20)
        case.submit()
        yield stage.ago(hours=5, minutes=58)
        case.offer("qinlan@imaging", place="imaging")

    return tale


def offered_urgent(desk: Desk) -> Tale:
    """Offered in the last moment of the telling: fresh when somebody looks. When it runs out the dispatcher has it."""

    def tale(stage: Stage) -> Moments:
        case = desk.case(
            "offered_urgent", "luobin", "zhao", urgency=m.Urgency.URGENT, mode=m.Mode.LIVE,
            target=Target(organisation=stage.places["city"]),
        )  # fmt: skip
        yield stage.ago(minutes=5)
        case.write(
            {
                "department": "内科",
                "purpose": "胸闷伴血压偏低，请心内科急会诊指导处理与转运",
                "urgency_reason": "血压持续偏低，需尽快决定是否转运",
                "complaint": "胸闷、乏力 6 小时",
                "history": "6 小时前干农活后出现胸闷、乏力、出冷汗，无放射痛，休息后部分缓解。近 2 天腹泻 5–6 次/日。",
                "past_history": "高血压 6 年，长期服用培哚普利、吲达帕胺。肝血管瘤随访中。",
                "examination": "皮肤湿冷，颈静脉无怒张，双肺清，心率 104 次/分，律齐，未闻及杂音。腹软无压痛。",
                "vitals": [
                    {"temperature": 36.8, "pulse": 104, "respiration": 20, "systolic": 92, "diastolic": 58, "spo2": 97}
                ],
                "diagnosis": [{"code": "R07.400", "name": "胸闷待查"}, {"code": "E86.x00", "name": "容量不足？"}],
                "treatment": "吸氧，生理盐水 500 ml 静滴中；硝酸酯类未用。",
                "laboratory": "指尖血糖 6.4 mmol/L；肌钙蛋白 I（床旁）<0.01 ng/ml，2 小时后复查中。",
            },
            ["目前更像容量不足还是急性冠脉综合征？", "补液速度和目标血压？", "是否需要立即转运？"],
        )
        case.attach("paper_ecg", "床旁心电图（手机拍照）", "fast_ecg", partial(papers.paper_ecg, 0.58))
        case.agree("赵德海")
        yield stage.ago(seconds=50)
        case.submit()
        yield stage.ago(seconds=20)
        case.receive("donghai")
        yield stage.ago(seconds=1)
        case.offer("donghai", place="city")

    return tale


def expired(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(organisation=stage.places["city"])
        case = desk.case("expired", "lihong", "sun", target=target)
        yield stage.ago(days=4, hours=6)
        case.write(
            {
                "department": "全科",
                "purpose": "儿童慢性咳嗽请指导诊断",
                "complaint": "反复咳嗽 1 个月，夜间为重",
                "history": "1 个月来晨起及夜间阵发干咳，运动后加重，曾口服抗生素 1 周无效。有湿疹史，父亲过敏性鼻炎。",
                "allergies": "头孢克肟（呕吐、皮疹）",
                "examination": "咽稍红，双肺呼吸音粗，未闻及干湿啰音。",
                "diagnosis": [{"code": "R05.x00", "name": "慢性咳嗽"}],
            },
            ["是否考虑咳嗽变异性哮喘，需要做哪些检查？"],
        )
        case.agree("孙伟", "parent")
        yield stage.ago(days=4, hours=5)
        case.submit()
        yield stage.ago(days=4, hours=1)
        case.send_back("donghai", [("血常规（嗜酸性粒细胞计数）", stage.ago(days=2, hours=1))], note="请补充后再送。")
        yield stage.ago(days=2)
        stage.told(expire_returned)

    return tale


def withdrawn(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(organisation=stage.places["city"])
        case = desk.case("withdrawn", "lihong", "wang", target=target)
        yield stage.ago(days=5, hours=3)
        case.write(
            {
                "purpose": "膝骨关节炎请指导治疗",
                "complaint": "双膝关节疼痛 2 年",
                "history": "上下楼梯时疼痛，休息缓解。",
            },
            ["是否需要关节腔注射治疗？"],
        )
        case.agree("王秀英")
        yield stage.ago(days=5, hours=2)
        case.submit()
        yield stage.ago(days=5, hours=1)
        case.withdraw("患者已到市一院骨科就诊")

    return tale


def rejected(desk: Desk) -> Tale:
    def tale(stage: Stage) -> Moments:
        target = Target(organisation=stage.places["city"])
        case = desk.case("rejected", "xujian", "mueller", target=target)
        yield stage.ago(days=3, hours=6)
        case.write(
            {
                "purpose": "旅行疫苗咨询",
                "complaint": "咨询旅行疫苗接种",
                "history": "Asks which vaccinations she needs before travelling.",
            },
            ["需要接种哪些疫苗？"],
        )
        case.agree("Anna Mueller")
        yield stage.ago(days=3, hours=5)
        case.submit()
        yield stage.ago(days=3, hours=4)
        case.reject("donghai", "疫苗咨询不属于远程会诊范围，请到市疾控中心国际旅行门诊（周一至周五上午）。")

    return tale


def _iso(start: datetime, hours: int) -> str:
    return (start + timedelta(hours=hours)).isoformat()


def tales(desk: Desk) -> list[Tale]:
    """In the order in which they are listed when two steps fall on one moment."""
    told = (
        draft, submitted, triage, returned, offered_named, offered_pool, offered_urgent, expired, withdrawn, rejected,
    )  # fmt: skip
    return [x(desk) for x in told]
