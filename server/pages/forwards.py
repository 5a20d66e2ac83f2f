"""GET /admin/forwards: where images go on to, by which rules, and what waits; ?edit=<id> opens one destination."""

from __future__ import annotations

from aiohttp import web

from server.api.common import actor, work
from server.forwards import overview
from server.i18n import N_, _
from server.pages import render

COMPRESSIONS = {
    "": N_("不压缩，原样发送"),
    "jpeg-ls": N_("JPEG-LS 无损压缩"),
    "htj2k": N_("HTJ2K 无损压缩"),
}
DOORS = {
    "": N_("全部来源"),
    "dimse": N_("所有 DICOM 设备"),
    "stow": N_("DICOMweb（STOW-RS）"),
    "upload": N_("网页上传"),
    "import": N_("批量导入"),
    "watch": N_("监视文件夹"),
}
ERRORS = {
    "unreachable": N_("连接不上"),
    "timeout": N_("对方没有应答"),
    "tls": N_("加密连接没有建立，请核对证书"),
    "bad_ca": N_("机构的 CA 证书无法使用"),
    "bad_token": N_("访问令牌无法打开，请重新填写"),
    "bad_answer": N_("对方的答复无法理解"),
    "http_401": N_("对方不接受访问令牌"),
    "http_403": N_("对方不接受访问令牌"),
    "http_404": N_("对方没有这个地址"),
    "context_refused": N_("对方不接收这种影像"),
    "rejected_1_3": N_("对方不认识本机的 AE 名称"),
    "rejected_1_7": N_("对方不叫这个 AE 名称"),
    "not_held": N_("影像已不在本机"),
}


def said(code: str) -> str:
    """A sentence for the code of what went wrong; the page shows the code beside it."""
    return _(ERRORS[code]) if code in ERRORS else _("对方没有接收")


async def page(request: web.Request) -> web.StreamResponse:
    """The page; opens for who manages devices."""
    seen = await work(request).read(overview, actor=actor(request))
    devices = {row.id: row for row in seen.devices}
    return await render(
        request,
        "admin/forwards.html",
        page="forwards",
        tab="forwards",
        seen=seen,
        names={row.id: row.name for row in seen.destinations},
        devices=devices,
        chosen=next((row for row in seen.destinations if row.id == request.query.get("edit")), None),
        device_options=[("", _("不是设备，是网络地址")), *((row.id, row.name) for row in seen.devices if row.host)],
        compressions=[(name, _(word)) for name, word in COMPRESSIONS.items()],
        sources=[*((name, _(word)) for name, word in DOORS.items()),
                 *((f"dimse:{row.id}", row.name) for row in seen.devices)],
        said=said,
    )  # fmt: skip
