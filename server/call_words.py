"""How good a call was, in words: one sentence for a session, a table for its seats. consult/line_quality.py counts."""

from collections.abc import Callable, Mapping
from typing import Any

from consult.line_quality import SeatQuality, SessionQuality, Verdict
from consult.line_sums import SeatLine
from server.i18n import N_, _

SPEECH: Mapping[str, str] = {
    "good": N_("语音良好"), "fair": N_("语音偶有断续"), "poor": N_("语音断续较多"),
    "unmeasured": N_("语音质量没有测到"),
}  # fmt: skip
RUNG: Mapping[str, str] = {
    "video": N_("清晰画面"), "small": N_("小画面"), "stills": N_("每秒两幅"), "audio": N_("仅语音"),
    "telephone": N_("音视频不通"),
}  # fmt: skip
WAY: Mapping[str, str] = {
    "direct": N_("双方直连"), "turn": N_("经中继服务器"), "server": N_("经会诊服务器"), "none": N_("没有通路"),
}  # fmt: skip
# What the page said before somebody entered, by the code it saved (static/js/room/precheck.js has the same sentences).
PRECHECK: Mapping[str, str] = {
    "server": N_("连接不上会诊服务器。请检查网络；必要时请用电话沟通。"),
    "blocked": N_("这个网络不允许音视频通过。可以进入会诊室看影像和聊天，语音请用电话。"),
    "no_mic": N_("没有可用的麦克风，对方听不到您。可以进入会诊室，语音请用电话。"),
    "slow": N_("网络较慢（往返 {ms} 毫秒），预计以语音为主。"),
    "no_relay": N_("连接不上中继服务器；如果直接连接不通，请用电话沟通。"),
    "thin": N_("网络带宽不足或丢包较多，预计以语音为主。"),
    "no_camera": N_("没有画面，会诊以语音进行。"),
    "untried": N_("设备正常，能连接会诊服务器。音视频线路没有测试，接通后才知道。"),
    "fine": N_("设备和网络都正常，可以进入会诊室。"),
}


def span(seconds: float) -> str:
    """A length of time as people say it."""
    whole = round(seconds)
    if whole < 60:
        return _("{n} 秒", n=whole)
    if whole < 3600:
        return _("{m} 分 {s} 秒", m=whole // 60, s=whole % 60)
    return _("{h} 小时 {m} 分", h=whole // 3600, m=whole // 60 % 60)


def share(part: float) -> str:
    return f"{part * 100:.1f}%"


def size(amount: int) -> str:
    return f"{amount / 1e6:.1f} MB" if amount >= 100_000 else f"{amount / 1e3:.0f} KB"


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    said = [_(SPEECH[verdict.speech])]
    if verdict.falls:
        said.append(_("画面降级 {n} 次", n=verdict.falls))
    if verdict.breaks:
        said.append(_("断线 {n} 次，共 {time}", n=verdict.breaks, time=span(verdict.silent)))
    if verdict.telephone:
        said.append(_("后改为电话进行"))
    return _("，").join(said) + _("。")


def tone(verdict: Verdict) -> str:
    """good, warn or plain: nothing here is an alarm."""
    if verdict.speech in {"fair", "poor"} or verdict.breaks or verdict.telephone:
        return "warn"
    return "good" if verdict.speech == "good" else "plain"


def times_of(line: SeatLine, words: Mapping[str, str]) -> str:
    """Where the time went, the longest first; what took less than a second is left out."""
    spent = [(getattr(line, f"{name}_ms") / 1000, word) for name, word in words.items()]
    found = sorted((x for x in spent if x[0] >= 1), key=lambda x: -x[0])
    return " · ".join(f"{_(word)} {span(seconds)}" for seconds, word in found)


def precheck_sentence(result: Mapping[str, Any] | None) -> str:
    """What the page said; empty where it had not finished, or was skipped by a reload. What was saved is a browser's
    word: anything may stand in it.
    """
    found = PRECHECK.get(str((result or {}).get("why")))
    if result is None or found is None:
        return ""
    waited = [x for x in (result.get("path_ms"), result.get("rtt_ms")) if isinstance(x, int | float)]
    return _(found, ms=round(max(waited, default=0)))


def _times(n: int, seconds: float) -> str:
    return _("{n} 次，共 {time}", n=n, time=span(seconds)) if n else _("没有")


def _round_trip(line: SeatLine) -> str:
    median, most = line.round_trip(0.5), line.round_trip(0.95)
    return "" if median is None else _("一般 {a} 毫秒，最差 {b} 毫秒", a=median, b=most)


def _reconnects(line: SeatLine) -> str:
    if not line.restarts + line.rebuilds:
        return ""
    return _("恢复通路 {a} 次，重建连接 {b} 次", a=line.restarts, b=line.rebuilds)


_OF_LINE: tuple[tuple[str, Callable[[SeatLine], str]], ...] = (
    (N_("接通用时"), lambda x: "" if x.setup_ms is None else _("{n} 秒", n=f"{x.setup_ms / 1000:.1f}")),
    (N_("听到的语音中缺损"), lambda x: "" if x.concealed is None else share(x.concealed)),
    (N_("丢包"), lambda x: "" if x.loss is None else share(x.loss)),
    (N_("往返时延"), _round_trip),
    (N_("画面停顿"), lambda x: _("{n} 次", n=x.freezes) if x.freezes else ""),
    (N_("音视频中断"), lambda x: _times(x.breaks, x.silent_ms / 1000)),
    (N_("重新连接"), _reconnects),
    (N_("发出的画面"), lambda x: times_of(x, RUNG)),
    (N_("线路"), lambda x: times_of(x, WAY)),
    (N_("流量"), lambda x: _("发 {a}，收 {b}", a=size(x.sent), b=size(x.received)) if x.sent + x.received else ""),
)


def table(quality: SessionQuality) -> list[tuple[str, list[str]]]:
    """Rows of the details: a heading and a cell for every seat, "—" where nothing is known; none where nobody knows."""
    seats = quality.seats
    rows = [
        (_("在会诊室"), [span(x.present) for x in seats]),
        (_("掉线后返回"), [_times(x.gaps.times, x.gaps.seconds) if x.gaps.times else "" for x in seats]),
        (_("进入前检查"), [precheck_sentence(x.seat.precheck) for x in seats]),
        *((_(head), [told(x.line) if x.line else "" for x in seats]) for head, told in _OF_LINE),
    ]
    return [(head, [x or "—" for x in cells]) for head, cells in rows if any(cells)]


def card(quality: SessionQuality) -> dict[str, Any]:
    """What the consultation's page shows of one session."""
    return {
        "session": quality.session, "seats": quality.seats, "seconds": span(quality.seconds),
        "running": quality.session.ended_at is None, "text": sentence(quality.verdict), "tone": tone(quality.verdict),
        "rows": table(quality),
    }


def seat_view(one: SeatQuality) -> dict[str, Any]:
    """One seat in the API's JSON; `line` is null while nothing has been counted."""
    line = one.line
    check = one.seat.precheck or {}
    return {
        "seat": one.seat.id, "membership": one.seat.membership, "part": one.seat.part, "name": one.name,
        "organisation": one.organisation, "present_seconds": one.present, "gaps": one.gaps.times,
        "gap_seconds": one.gaps.seconds,
        "precheck": {"grade": check.get("grade"), "text": precheck_sentence(check)} if check else None,
        "line": None if line is None else {
            "setup_ms": line.setup_ms, "concealed": line.concealed, "loss": line.loss,
            "rtt_ms": {"median": line.round_trip(0.5), "p95": line.round_trip(0.95)}, "freezes": line.freezes,
            "falls": line.falls, "breaks": line.breaks, "silent_ms": line.silent_ms, "restarts": line.restarts,
            "rebuilds": line.rebuilds, "sent": line.sent, "received": line.received,
            "rungs_ms": {x: getattr(line, f"{x}_ms") for x in RUNG},
            "ways_ms": {x: getattr(line, f"{x}_ms") for x in WAY},
        },
    }


def session_view(quality: SessionQuality) -> dict[str, Any]:
    """One session in the API's JSON."""
    verdict, session = quality.verdict, quality.session
    return {
        "session": session.id, "n": session.n, "opened_at": session.opened_at, "ended_at": session.ended_at,
        "seconds": quality.seconds, "text": sentence(verdict), "speech": verdict.speech, "falls": verdict.falls,
        "breaks": verdict.breaks, "silent_seconds": verdict.silent, "telephone": verdict.telephone,
        "seats": [seat_view(x) for x in quality.seats],
    }
