"""Fills an empty data folder with the demo city, and says who lives there and what to try first.

Three steps, each kept when it is done, so that a start after a stop goes on: people and orders (one transaction), the
studies (sent again, which the archive knows), what happened to the patients (one transaction).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from consult.people import StaffId
from dicom.model import StudyRow
from server import keys
from server.demo import images, places, residents, tales_asking, tales_closing, tales_meeting, tales_reading
from server.demo.case import Desk
from server.demo.stage import Moments, Signatory, Stage, tell
from server.dicomweb.ports import ARCHIVE
from server.i18n import _
from server.settings import Settings
from server.storage.accounts import Account
from server.storage.unit import SqlUnitOfWork

Say = Callable[[str], None]
NAME = "demo"
PASSWORD = "huizhen-demo"  # noqa: S105 the demo's own, on this machine alone
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is kept of the demo city. `step`: people, studies, done. `hashed`: of `password`, for its accounts."""

    step: str
    seed: str
    start: str
    password: str
    hashed: str
    orders: dict[str, str]
    patients: dict[str, str]


def open_to_others(settings: Settings) -> bool:
    """Whether anybody but this machine's own user may reach the server."""
    return settings.host not in _LOOPBACK or bool(settings.public_urls or settings.trusted_proxies)


async def seed(app: web.Application, say: Say) -> None:
    """Builds what is missing of the demo city; nothing where it stands or where the folder holds something else."""
    work = app[keys.WORK]
    state = await work.read(_state)
    if state is None and await work.read(lambda uow: uow.accounts.any()):
        say("演示城市：数据目录里已有别的数据，不再添加 · demo city: the data folder holds other data")
        return
    began = time.monotonic()
    if state is None:
        say("演示城市 1/3  机构、人员、患者 · places, people, patients")
        password = secrets.token_urlsafe(9) if open_to_others(app[keys.SETTINGS]) else PASSWORD
        hashed = await app[keys.PASSWORDS].hash(password)
        state = await work.run(_people, start=app[keys.CLOCK](), password=password, hashed=hashed)
        app[keys.SETUP_CODE].clear()
    if state.step != "done":
        rows = await _studies(app, state, say)
        # The installation's keys are made first, by the service that keeps them.
        await asyncio.to_thread(app[keys.SIGNING].warm)
        say("演示城市 3/3  会诊、报告、签名 · consultations, reports, signatures")
        await work.run(_told, app=app, rows=rows)
        say(f"演示城市就绪 · demo city ready ({time.monotonic() - began:.1f} s)")
    await _guard_password(app)


def _state(uow: SqlUnitOfWork) -> State | None:
    stored = uow.settings.get(NAME)
    return None if stored is None else State(**stored)


def _people(uow: SqlUnitOfWork, *, start: datetime, password: str, hashed: str) -> State:
    """The first step: everyone, and the orders whose numbers the images carry."""
    stage = Stage(uow=uow, start=start, now=start.min.replace(tzinfo=start.tzinfo))
    places.build(uow, stage, hashed)
    places.load(uow, stage)
    tell(stage, [residents.register, images.order])
    state = State(
        step="people", seed=secrets.token_hex(16), start=start.isoformat(), password=password, hashed=hashed,
        orders=dict(stage.orders), patients=dict(stage.patients),
    )  # fmt: skip
    uow.settings.put(NAME, asdict(state))
    return state


async def _studies(app: web.Application, state: State, say: Say) -> dict[str, StudyRow]:
    """The second step: every study through the archive's one way in."""
    archive, work = app[ARCHIVE], app[keys.WORK]
    await app[keys.ARCHIVE_STARTED].wait()
    start = datetime.fromisoformat(state.start)
    stage = await work.read(_looked_up, start=start)
    accessions: dict[str, str] = await work.read(_accessions, orders=state.orders)
    rows = {}
    for number, (key, planned) in enumerate(images.PLANNED.items(), start=1):
        say(f"演示城市 2/3  影像 · images {number}/{len(images.PLANNED)}  {planned.description}")
        rows[key] = await images.store(
            archive, planned, key,
            place=stage.places[planned.place],
            source=f"upload:{stage.actors[f'{planned.by}@{planned.place}'].membership}",
            seed=state.seed, start=start, accession=accessions.get(key, ""),
        )  # fmt: skip
    return rows


def _looked_up(uow: SqlUnitOfWork, *, start: datetime) -> Stage:
    stage = Stage(uow=uow, start=start, now=start)
    places.load(uow, stage)
    return stage


def _accessions(uow: SqlUnitOfWork, *, orders: dict[str, str]) -> dict[str, str]:
    return {key: uow.studies.order(order).accession for key, order in orders.items()}  # type: ignore[arg-type]


def _told(uow: SqlUnitOfWork, *, app: web.Application, rows: dict[str, StudyRow]) -> None:
    """The third step: what happened in the last days, told in one transaction."""
    state = _state(uow)
    if state is None or state.step == "done":
        return
    start = uow.now
    stage = Stage(uow=uow, start=start, now=start.min.replace(tzinfo=start.tzinfo), studies=rows)
    places.load(uow, stage)
    stage.patients.update(state.patients)  # type: ignore[arg-type]
    stage.orders.update(state.orders)  # type: ignore[arg-type]
    settings = app[keys.SETTINGS]
    signatory = Signatory(
        stage, app[keys.BLOBS], settings.key_folder, origin=origin(settings), zone=app[keys.ZONE]
    )
    desk = Desk(stage=stage, signatory=signatory, put=app[keys.BLOBS].put)
    tell(
        stage,
        [
            matched,
            *tales_closing.tales(desk),
            *tales_reading.tales(desk),
            *tales_meeting.tales(desk),
            *tales_asking.tales(desk),
        ],
    )
    uow.settings.put(NAME, asdict(state) | {"step": "done"})


def matched(stage: Stage) -> Moments:
    """Each study is matched a little after it was performed, as an upload would be."""
    for key, planned in sorted(images.PLANNED.items(), key=lambda x: -x[1].days):
        yield stage.ago(days=planned.days, minutes=-9)
        method = stage.match(key)
        if method != planned.matches:
            msg = f"demo study {key} matched by {method or 'nothing'}"
            raise RuntimeError(msg)


def origin(settings: Settings) -> str:
    """The address that is printed under the verification code."""
    if settings.public_urls:
        return settings.public_urls[0].rstrip("/")
    scheme = "http" if settings.tls.mode == "off" else "https"
    return f"{scheme}://localhost:{settings.port}"


async def _guard_password(app: web.Application) -> None:
    """The password everybody knows must not stand once others can reach the server."""
    work = app[keys.WORK]
    state = await work.read(_state)
    if state is None or state.password != PASSWORD or not open_to_others(app[keys.SETTINGS]):
        return
    password = secrets.token_urlsafe(9)
    await work.run(_new_password, old=state, password=password, hashed=await app[keys.PASSWORDS].hash(password))


def _new_password(uow: SqlUnitOfWork, *, old: State, password: str, hashed: str) -> None:
    for post in places.people_of():
        staff = uow.people.staff_by_login(post.login)
        account = uow.accounts.get(StaffId(staff.id)) if staff else None
        if account is not None and account.password_hash == old.hashed:
            uow.accounts.put(Account(staff=account.staff, password_hash=hashed, changed_at=uow.now))
            uow.logins.revoke(now=uow.now, staff=account.staff)
    uow.settings.put(NAME, asdict(old) | {"password": password, "hashed": hashed})


async def accounts(app: web.Application) -> list[dict[str, Any]]:
    """One account per role for the sign-in page; the password only where nobody else can see the page."""
    state = await app[keys.WORK].read(_state)
    if state is None:
        return []
    shown = "" if open_to_others(app[keys.SETTINGS]) else state.password
    return [
        {
            "login": post.login,
            "password": shown,
            "name": post.name,
            "role": post.role,
            "organisation": places.PLACES[post.place][1],
            "try_first": _(post.try_first),
        }
        for post in places.POSTS
        if post.try_first
    ]


async def describe(app: web.Application) -> list[str]:
    """What the console tells after the addresses: who to be, and what to try first, in both languages."""
    state = await app[keys.WORK].read(_state)
    if state is None:
        return []
    lines = ["演示账号 demo accounts", ""]
    lines += [
        f"  {post.login:<12} {state.password:<14} {ROLES[post.role]} · {post.name} · {places.PLACES[post.place][1]}"
        for post in places.POSTS
        if post.try_first
    ]
    return [*lines, "", "先试试 what to try first", *(f"  {x}" for x in FIRST)]


ROLES = {
    "clinic_doctor": "诊所医生 clinic doctor",
    "expert": "专家 expert",
    "technician": "技师 technician",
    "dispatcher": "调度 dispatcher",
    "org_admin": "机构管理员 administrator",
    "platform_admin": "平台管理员 platform",
    "auditor": "审计 auditor",
}
FIRST = (
    "1 刘畅 liuchang：待签发 → 张建国胸部 CT，阅片后签发 · read the chest CT and sign the report",
    "2 周敏 zhoumin：收件箱签收报告；新建一份申请 · acknowledge a report, write a new request",
    "3 刘畅 liuchang：李强的“腰椎 MR”看着不对？报告放错了人 · find the study of the wrong patient",
    "4 孙强 sunqiang：两份检查没有对上患者；拖入 DICOM 文件 · match two stray studies, upload your own",
    "5 周敏 + 陈亚宁：在两个地址分别登录，“孕期心悸”已签到，开始视频会诊 · sign in at two addresses and meet",
)
