"""GET /admin/devices: the organisation's DICOM devices; with ?edit=<id> the form holds that one."""

from __future__ import annotations

from aiohttp import web

from server.api.common import actor, settings, work
from server.dimse.registry import list_devices
from server.dimse.running import DEMO_PORT, DIMSE_PORTS
from server.i18n import N_, _
from server.pages import render

CODINGS = {
    "utf-8": N_("UTF-8"),
    "gb18030": N_("GB18030"),
    "gbk": N_("GBK"),
    "iso58": N_("ISO 2022 IR 58（GB 2312）"),
    "pinyin": N_("只有拼音"),
}
CONFLICTS = {
    0xB000: N_("B000：收下并提示（推荐）"),
    0x0000: N_("0000：成功"),
    0x0110: N_("0110：处理失败，设备会重发"),
    0xA700: N_("A700：资源不足，设备会重发"),
}


async def page(request: web.Request) -> web.StreamResponse:
    """The page; opens for who manages devices."""
    devices = await work(request).read(list_devices, actor=actor(request))
    given = settings(request)
    chosen = next((row for row in devices if row.id == request.query.get("edit")), None)
    plain = given.dimse.port or (DEMO_PORT if given.demo and not given.dimse.tls_port else 0)
    return await render(
        request,
        "admin/devices.html",
        page="devices",
        tab="devices",
        devices=devices,
        chosen=chosen,
        titles=given.dimse.titles,
        titles_options=[(title, title) for title in given.dimse.titles],
        ports={"plain": plain, "tls": given.dimse.tls_port},
        is_open=bool(request.app[DIMSE_PORTS]),
        codings=[(name, _(word)) for name, word in CODINGS.items()],
        conflicts=[(str(status), _(word)) for status, word in CONFLICTS.items()],
    )
