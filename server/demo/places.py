"""The organisations of the demo city and who serves there. Every name is invented."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from consult.people import (
    LinkKind,
    Membership,
    MembershipId,
    Organisation,
    OrganisationId,
    OrganisationKind,
    OrgLink,
    Role,
    Staff,
    StaffId,
    Tier,
)
from server.demo.stage import Stage, actor_at
from server.i18n import N_
from server.storage.accounts import Account
from server.storage.unit import SqlUnitOfWork

_SINCE = timedelta(days=400)

# key: name, short name, tier, kind, district, telephone (555 numbers are nobody's)
PLACES: dict[str, tuple[str, str, Tier, OrganisationKind, str, str]] = {
    "liuxiang": (
        "柳巷街道社区卫生服务中心", "柳巷社区", Tier.CLINIC, OrganisationKind.COMMUNITY_CENTRE,
        "柳巷区", "0999-5550101",
    ),
    "dongdu": (
        "东渡街道社区卫生服务中心", "东渡社区", Tier.CLINIC, OrganisationKind.COMMUNITY_CENTRE,
        "东渡区", "0999-5550102",
    ),
    "qingshi": (
        "青石社区卫生服务站", "青石服务站", Tier.CLINIC, OrganisationKind.COMMUNITY_CENTRE, "沅北县", "0999-5550103",
    ),
    "shiqiao": (
        "石桥镇中心卫生院", "石桥卫生院", Tier.CLINIC, OrganisationKind.TOWNSHIP_HOSPITAL, "沅北县", "0999-5550104",
    ),
    "county": (
        "沅北县人民医院", "沅北县医院", Tier.COUNTY, OrganisationKind.HOSPITAL, "沅北县", "0999-5550201",
    ),
    "city": (
        "清沅市第一人民医院", "清沅市一院", Tier.CITY, OrganisationKind.HOSPITAL, "清沅市", "0999-5550301",
    ),
    "imaging": (
        "清沅市一院影像诊断中心", "影像中心", Tier.CITY, OrganisationKind.IMAGING_CENTRE, "清沅市", "0999-5550302",
    ),
    "ecg": (
        "清沅市一院心电诊断中心", "心电中心", Tier.CITY, OrganisationKind.ECG_CENTRE, "清沅市", "0999-5550303",
    ),
}  # fmt: skip

# a serves b, or is its parent
LINKS: tuple[tuple[str, str, LinkKind], ...] = (
    ("city", "imaging", LinkKind.PARENT),
    ("city", "ecg", LinkKind.PARENT),
    ("city", "liuxiang", LinkKind.ALLIANCE),
    ("city", "dongdu", LinkKind.ALLIANCE),
    ("city", "county", LinkKind.ALLIANCE),
    ("county", "qingshi", LinkKind.ALLIANCE),
    ("county", "shiqiao", LinkKind.ALLIANCE),
    ("city", "shiqiao", LinkKind.SPECIALTY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Somebody in one place. The first post of a login names the person; further ones add a place."""

    login: str
    place: str
    role: Role
    name: str = ""
    title: str = ""
    department: str = ""
    specialties: tuple[str, ...] = ()
    on_call: bool = False
    try_first: str = ""


_R = Role
POSTS: tuple[Post, ...] = (
    Post(
        login="zhoumin", place="liuxiang", role=_R.CLINIC_DOCTOR, name="周敏", title="主治医师", department="全科",
        try_first=N_("新建会诊申请；收件箱里有报告等您签收"),
    ),
    Post(
        login="liuchang", place="imaging", role=_R.EXPERT, name="刘畅", title="主任医师", department="影像诊断",
        specialties=("影像诊断",), on_call=True,
        try_first=N_("“待签发”里的胸部 CT：阅片、签发；再找出那份放错人的检查"),
    ),
    Post(
        login="sunqiang", place="liuxiang", role=_R.TECHNICIAN, name="孙强", title="主管技师", department="放射科",
        try_first=N_("有两份检查还没有对上患者；上传影像文件试试"),
    ),
    Post(
        login="chenyaning", place="city", role=_R.EXPERT, name="陈亚宁", title="主任医师", department="心血管内科",
        specialties=("心血管内科",), on_call=True, try_first=N_("接诊派给您的会诊；值班专家的急会诊也在这里"),
    ),
    Post(
        login="donghai", place="city", role=_R.DISPATCHER, name="董海", title="主管护师", department="远程医学中心",
        try_first=N_("分诊新提交的申请：派给专家、退回补充"),
    ),
    Post(
        login="wufang", place="liuxiang", role=_R.ORG_ADMIN, name="吴芳", department="办公室",
        try_first=N_("管理本机构的人员和值班"),
    ),
    Post(
        login="fengrui", place="city", role=_R.PLATFORM_ADMIN, name="冯睿", department="信息科",
        try_first=N_("管理机构和机构之间的联系"),
    ),
    Post(
        login="jiangyi", place="city", role=_R.AUDITOR, name="蒋毅", department="质控办",
        try_first=N_("查看谁在什么时候看过什么"),
    ),
    Post(login="lihong", place="liuxiang", role=_R.CLINIC_DOCTOR, name="李红", title="住院医师", department="全科"),
    Post(login="xujian", place="dongdu", role=_R.CLINIC_DOCTOR, name="徐健", title="主治医师", department="全科"),
    Post(login="mali", place="dongdu", role=_R.TECHNICIAN, name="马丽", title="技师", department="超声室"),
    Post(login="wangping", place="dongdu", role=_R.ORG_ADMIN, name="王萍", department="办公室"),
    Post(login="tangyun", place="qingshi", role=_R.CLINIC_DOCTOR, name="唐云", title="全科医师", department="全科"),
    Post(login="tangyun", place="shiqiao", role=_R.CLINIC_DOCTOR, department="内科"),
    Post(login="luobin", place="shiqiao", role=_R.CLINIC_DOCTOR, name="罗斌", title="主治医师", department="内科"),
    Post(login="hetao", place="shiqiao", role=_R.TECHNICIAN, name="何涛", title="技师", department="功能科"),
    Post(
        login="gaoming", place="county", role=_R.EXPERT, name="高明", title="副主任医师", department="内科",
        specialties=("心血管内科", "呼吸内科"), on_call=True,
    ),
    Post(login="fangjing", place="county", role=_R.CLINIC_DOCTOR, name="方静", title="主治医师", department="神经内科"),
    Post(login="pengfei", place="county", role=_R.TECHNICIAN, name="彭飞", title="主管技师", department="影像科"),
    Post(login="shaoqin", place="county", role=_R.DISPATCHER, name="邵琴", title="护师", department="医务科"),
    Post(
        login="linzhiyuan", place="city", role=_R.EXPERT, name="林志远", title="主任医师",
        department="呼吸与危重症医学科",
        specialties=("呼吸内科",), on_call=True,
    ),
    Post(
        login="songwen", place="city", role=_R.EXPERT, name="宋雯", title="副主任医师", department="产科",
        specialties=("产前诊断",),
    ),
    Post(login="qiankun", place="city", role=_R.TECHNICIAN, name="钱坤", title="技师", department="功能科"),
    Post(login="zhenglan", place="city", role=_R.ORG_ADMIN, name="郑岚", department="人事科"),
    Post(
        login="baixue", place="imaging", role=_R.EXPERT, name="白雪", title="主治医师", department="影像诊断",
        specialties=("影像诊断",), on_call=True,
    ),
    Post(login="yeqing", place="imaging", role=_R.TECHNICIAN, name="叶青", title="主管技师", department="CT 室"),
    Post(login="qinlan", place="imaging", role=_R.DISPATCHER, name="秦岚", title="主管护师", department="登记室"),
    Post(login="qinlan", place="ecg", role=_R.DISPATCHER, department="登记室"),
    Post(
        login="hexinyi", place="ecg", role=_R.EXPERT, name="何心怡", title="副主任医师", department="心电诊断",
        specialties=("心电诊断",), on_call=True,
    ),
)  # fmt: skip


def people_of(posts: tuple[Post, ...] = POSTS) -> tuple[Post, ...]:
    """Each person once: the post that names them."""
    return tuple(x for x in posts if x.name)


def build(uow: SqlUnitOfWork, stage: Stage, password_hash: str) -> None:
    """Writes organisations, links, people and accounts, in force for more than a year."""
    since = stage.start - _SINCE
    for key, (name, short, tier, kind, district, phone) in PLACES.items():
        place = OrganisationId(uow.new_id())
        stage.places[key] = place
        uow.people.add_organisation(
            Organisation(
                id=place, name=name, short_name=short, tier=tier, kind=kind, district=district, phone=phone
            )
        )
    for a, b, link in LINKS:
        uow.people.add_link(OrgLink(a=stage.places[a], b=stage.places[b], kind=link, since=since.date()))
    known: dict[str, StaffId] = {}
    for number, post in enumerate(POSTS, start=1):
        if post.login not in known:
            staff = known[post.login] = StaffId(uow.new_id())
            doctor = post.role in {Role.CLINIC_DOCTOR, Role.EXPERT}
            uow.people.add_staff(
                Staff(
                    id=staff, login=post.login, name=post.name, title=post.title,
                    licence=f"YS9900{number:06d}" if doctor else "", phone=f"1990000{number:04d}",
                )
            )  # fmt: skip
            uow.accounts.put(Account(staff=staff, password_hash=password_hash, changed_at=uow.now))
        uow.people.add_membership(
            Membership(
                id=MembershipId(uow.new_id()), staff=known[post.login], organisation=stage.places[post.place],
                role=post.role, department=post.department, specialties=post.specialties, on_call=post.on_call,
                since=since + timedelta(minutes=number),
            )
        )  # fmt: skip


def load(uow: SqlUnitOfWork, stage: Stage) -> None:
    """Organisations by key, and every person in their first post (`login`) and any other (`login@place`)."""
    by_name = {x.name: x.id for x in uow.people.organisations()}
    for key, place in PLACES.items():
        stage.places[key] = by_name[place[0]]
    for post in POSTS:
        actor = actor_at(uow, post.login, stage.places[post.place], post.role)
        stage.actors.setdefault(post.login, actor)
        stage.actors[f"{post.login}@{post.place}"] = actor
