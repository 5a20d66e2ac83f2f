"""The page that plays a recording, and the list of recordings for those who hold them without seeing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from consult import model as m
from consult import recording as rules
from consult.access import Action, may
from consult.people import Actor
from consult.recording_state import Recording, RecordingId, Stage
from server.api.common import actor, work
from server.api.recordings import PURPOSES, row_view
from server.auth.audit import audit
from server.i18n import N_
from server.pages import render
from server.storage.unit import SqlUnitOfWork

MOST = 500
STAGES: Mapping[str, str] = {
    "open": N_("会诊中"), "waiting": N_("正在生成"), "ready": N_("可以播放"), "failed": N_("生成失败"),
    "empty": N_("没有录到内容"), "withheld": N_("已撤回同意，不播放"), "removed": N_("已到期移除"),
}  # fmt: skip
EVENTS: Mapping[str, str] = {
    "entered": N_("进入了会诊室"), "left": N_("离开了会诊室"), "lost": N_("断线"), "given": N_("同意录制"),
    "refused": N_("不同意录制"), "withdrawn": N_("撤回了同意"), "running": N_("录制开始"),
    "paused": N_("录制暂停"), "stopped": N_("录制结束"),
    "view": N_("更换了共享视图"), "snapshot": N_("共享了一个视图"), "annotation": N_("在共享视图上标注"),
    "picture": N_("发来了清晰图"), "document": N_("添加了资料"), "screen_on": N_("开始了屏幕共享"),
    "screen_off": N_("结束了屏幕共享"), "hand_up": N_("举起了手"), "hand_down": N_("放下了手"),
    "rung_video": N_("改为发送清晰视频"), "rung_small": N_("改为发送小视频"), "rung_stills": N_("改为发送静止画面"),
    "rung_audio": N_("改为只发送声音"), "rung_telephone": N_("改用电话"),
    "full": N_("从这里起，共享视图与操作已达保存上限，不再保存"),
}  # fmt: skip


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /consultations/{id}/recordings/{recording}`: film, chat and events on one timeline."""
    who, consultation = actor(request), m.ConsultationId(request.match_info["id"])
    identity = RecordingId(request.match_info["recording"])

    def read(uow: SqlUnitOfWork) -> tuple[Recording, str]:
        recording = rules.open_recording(uow, actor=who, id=identity, consultation=consultation)
        audit(uow, who, "recording.open", f"recording:{identity}")
        return recording, uow.consultations.get(consultation).number

    recording, number = await work(request).run(read)
    return await render(
        request, "recording.html", page="recording", recording=recording, number=number, purposes=PURPOSES,
        data={"id": identity, "consultation": consultation, "stage": recording.stage.value, "events": dict(EVENTS)},
        stages=STAGES, events=EVENTS,
    )


def _envelopes(uow: SqlUnitOfWork, *, who: Actor) -> list[dict[str, Any]]:
    rows = []
    for x in uow.recordings.newest(limit=MOST):
        consultation = uow.consultations.get(x.consultation)
        if not may(uow, who, Action.RECORDING_HOLD, consultation):
            continue
        until = None if x.stage in {Stage.OPEN, Stage.REMOVED} else rules.keep_until(uow, x)
        rows.append({"row": x, "number": consultation.number, "until": until, "reason": x.held_reason})
    audit(uow, who, "recording.list", f"organisation:{who.organisation}")
    return rows


async def held_page(request: web.Request) -> web.StreamResponse:
    """`GET /recordings`: numbers, dates and lengths, and legal holds; nothing of the content."""
    rows = await work(request).run(_envelopes, who=actor(request))
    return await render(
        request, "recordings.html", page="recordings", tab="recordings", stages=STAGES,
        rows=[x | {"seconds": row_view(request, x["row"])["seconds"]} for x in rows],
    )
