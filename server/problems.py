"""The one table: error code → HTTP status and sentence. docs/errors.md explains each code; a test compares all three.

JSON callers get `application/problem+json` (RFC 9457) with our members `code`, `fields`, `request_id`; people get the
same words on a page. No text ever contains what the user typed or anything of a patient.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from consult import words
from server.i18n import N_, translate


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a code means: status, short title, and the sentence that says what to do (placeholders from `params`)."""

    status: int
    title: str
    detail: str


def entry(status: int, title: str, detail: str) -> Entry:
    return Entry(status=status, title=title, detail=detail)


class Refused(Exception):
    """An HTTP-side refusal: `code` stands in TABLE. `headers` go to the answer (Retry-After)."""

    def __init__(self, code: str, *, headers: Mapping[str, str] | None = None, **params: Any) -> None:
        super().__init__(code)
        self.code = code
        self.params = params
        self.headers = dict(headers or {})
        self.fields: tuple[tuple[Any, ...], ...] = ()


TABLE: Mapping[str, Entry] = {
    # the clinical heart
    "consult_error": entry(400, N_("无法完成"), N_("这一步无法完成。请刷新页面后再试。")),
    "not_found": entry(404, N_("没有找到"), N_("没有这一项，或者您无权查看。请检查地址，或回到工作列表。")),
    "not_allowed": entry(403, N_("不能这样做"), N_("您目前的身份不能执行这一操作。如需办理，请联系本机构管理员。")),
    "stale": entry(
        409, N_("内容已被他人更新"),
        N_("您打开之后，别人保存了新的内容。您填写的内容仍在页面上，请核对后再保存。"),
    ),
    "wrong_state": entry(
        409, N_("当前状态不能这样做"),
        N_("会诊的状态已经变化，这一步不再适用。请刷新查看最新进展。"),
    ),
    "invalid": entry(422, N_("有内容需要修改"), N_("请按提示修改后再提交。")),
    "conflict": entry(409, N_("已被占用"), N_("同样的记录已经存在，或已有人先一步办理。请刷新查看。")),
    "upload_empty": entry(422, N_("文件是空的"), N_("这个文件没有内容，无法上传。请检查文件后再选。")),
    "upload_offset": entry(409, N_("续传位置不一致"), N_("服务器已收到的内容与这一段接不上，将从已收到的位置继续。")),
    "upload_size": entry(422, N_("文件大小不符"), N_("收到的内容比申报的多。请重新选择文件上传。")),
    "upload_incomplete": entry(409, N_("文件还没有传完"), N_("文件还没有传完，将从已收到的位置继续。")),
    "upload_closed": entry(409, N_("上传已结束"), N_("这次上传已经完成或取消。如需再传，请重新选择文件。")),
    "pictures_waiting": entry(
        409, N_("待发的图片太多"),
        N_("还有 {most} 张图片没有发完。请等前面的发完，或取消不需要的，再发新的。"),
    ),
    "document_refused": entry(
        422, N_("文件无法使用"),
        N_("这个文件无法作为附件：请上传 PDF、JPEG 或 PNG，且文件完整、未加密、不超过 60 页。"),
    ),
    "not_invitable": entry(
        409, N_("不能邀请"), N_("只能邀请双方机构的同事，或有协议机构的在岗专家；已参加或被移出的不能再邀请。"),
    ),
    "recording_off": entry(
        409, N_("不能录制"), N_("本机构没有开启录制，或媒体中继没有运行。请联系管理员。"),
    ),
    "recording_purpose": entry(409, N_("请先说明用途"), N_("播放录制前请先选择用途；每次播放都会记录。")),
    "room_full": entry(
        409, N_("会诊室已满"), N_("会诊室里最多 16 人。请等有人离开，或由主持人移出不需要的人，再试一次。")
    ),
    "room_locked": entry(409, N_("会诊室已锁定"), N_("主持人已锁定会诊室，现在不能新加入。请联系会诊专家。")),
    "seat_removed": entry(
        403, N_("已被请出会诊室"),
        N_("主持人已将您请出这次会诊，不能再次进入。如有疑问，请联系会诊专家。"),
    ),
    # sign-in and permission
    "signed_out": entry(401, N_("请先登录"), N_("请登录后继续。")),
    "session_expired": entry(401, N_("登录已过期"), N_("登录已过期，请重新登录。您填写的内容不会丢失。")),
    "wrong_login": entry(401, N_("登录失败"), N_("账号或密码不正确。请检查后再试。")),
    "wrong_password": entry(403, N_("密码不正确"), N_("密码不正确。请再试一次。")),
    "locked_out": entry(429, N_("尝试次数过多"), N_("密码连续输错，请在 {seconds} 秒后再试，或请管理员重设密码。")),
    "no_membership": entry(403, N_("没有任职机构"), N_("您的账号目前没有任职的机构。请联系管理员。")),
    "must_change_password": entry(403, N_("请先设置新密码"), N_("这是临时密码。请先换成只有您自己知道的密码。")),
    "unlock_required": entry(403, N_("需要密码"), N_("签名前请再次输入密码。")),
    "csrf": entry(403, N_("页面已失效"), N_("这个页面的安全令牌已失效。请刷新页面后再试。")),
    "foreign_origin": entry(403, N_("来源不受信任"), N_("请求不是从本系统的页面发出的，已被拒绝。")),
    "token_refused": entry(
        401, N_("令牌无效"), N_("接口令牌不正确、已过期或已停用。请向本机构管理员索取新的令牌。"),
    ),
    "token_scope": entry(403, N_("令牌不能这样用"), N_("这个令牌没有这项权限，或者这一地址不接受令牌。")),
    "setup_code": entry(403, N_("初始化码不正确"), N_("请输入服务器控制台上显示的初始化码。")),
    "setup_done": entry(409, N_("已经初始化"), N_("系统已有管理员，请直接登录。")),
    # requests
    "bad_request": entry(400, N_("请求无法理解"), N_("请求的格式不正确。请刷新页面后再试。")),
    "bad_json": entry(400, N_("请求无法理解"), N_("内容不是有效的 JSON。请刷新页面后再试。")),
    "media_type": entry(415, N_("格式不支持"), N_("这一地址不接受这种格式的内容。")),
    "not_acceptable": entry(406, N_("格式不支持"), N_("无法按要求的格式给出内容。")),
    "method": entry(405, N_("不支持的操作"), N_("这一地址不支持这种操作。")),
    "too_large": entry(413, N_("内容过大"), N_("内容超过了允许的大小（{limit}）。请缩小或分开后再发送。")),
    "too_many": entry(429, N_("请求过于频繁"), N_("请稍等片刻再试。")),
    "range": entry(416, N_("范围不正确"), N_("要求的范围超出了内容。")),
    "precondition": entry(412, N_("条件不满足"), N_("内容已经变化，请刷新后再试。")),
    "busy": entry(503, N_("系统繁忙"), N_("系统正忙，请稍后再试。您填写的内容仍在页面上。")),
    "disk_full": entry(
        507, N_("存储空间不足"),
        N_("服务器存储空间不足，内容没有保存。请通知管理员，腾出空间后再试。"),
    ),
    "starting": entry(503, N_("正在启动"), N_("系统正在启动，请稍候几秒再试。")),
    "storage_unavailable": entry(
        503, N_("数据库暂时不可用"),
        N_("内容没有保存。请稍后再试，您填写的内容仍在页面上。"),
    ),
    "database_busy": entry(503, N_("系统繁忙"), N_("系统正忙，内容没有保存。请再试一次。")),
    "database_in_use": entry(503, N_("数据库被占用"), N_("另一个程序正在使用数据库。请联系管理员。")),
    "schema_mismatch": entry(503, N_("数据库版本不符"), N_("数据库与程序的版本不符。请联系管理员。")),
    # documents and the archive
    "archive_error": entry(500, N_("影像库出错"), N_("影像库出现了意外错误。请再试一次。")),
    "refused": entry(422, N_("影像不能接收"), N_("这个文件不能作为影像接收。请检查是否是完整的 DICOM 文件。")),
    "bad_query": entry(400, N_("查询条件不正确"), N_("查询条件不正确。请检查后再试。")),
    "unsupported": entry(415, N_("格式不支持"), N_("暂不支持这种影像格式。")),
    "cannot_render": entry(422, N_("无法显示"), N_("这幅影像无法显示，请联系技师重新上传。")),
    "worker_failed": entry(503, N_("影像处理失败"), N_("影像处理失败。请再试一次。")),
    "worker_timeout": entry(503, N_("影像处理超时"), N_("影像处理时间过长，已停止。请再试一次。")),
    "io_error": entry(503, N_("存储出错"), N_("影像库读写失败，内容没有保存。请通知管理员。")),
    "integrity": entry(500, N_("数据校验失败"), N_("存储的数据与校验值不符，已拒绝给出。请通知管理员。")),
    "correction_refused": entry(
        409, N_("无法更正"), N_("检查的内容已经变化，这一步不再适用。请刷新后再试。"),
    ),
    "removal_refused": entry(
        409, N_("不能移除"), N_("情况已有变化，这些影像现在不能移除。请刷新后再试。"),
    ),
    "internal": entry(
        500, N_("系统出错"),
        N_("系统出现了意外错误，内容没有保存。请再试一次；如仍不行，请把编号告诉管理员。"),
    ),
}

FIELDS: dict[str, str] = {
    "required": N_("请填写此项"),
    "too_short": N_("内容太短，至少 {min} 个字"),
    "too_long": N_("内容太长，最多 {max} 个字"),
    "type": N_("格式不正确"),
    "unknown": N_("不认识的项目"),
    "choice": N_("请从列表中选择"),
    "taken": N_("已被使用，请换一个"),
    "weak_password": N_("密码太短，至少 {min} 位"),
    "wrong_password": N_("密码不正确"),
    "same_password": N_("新密码不能与旧密码相同"),
    "login_form": N_("登录名由 2–32 个小写字母、数字、点、下划线或连字符组成"),
    "not_self": N_("不能修改自己的账号，请由另一位管理员办理"),
    "setup_code": N_("初始化码不正确，请照服务器窗口里显示的填写"),
    "last_admin": N_("这是最后一位管理员，不能停用"),
}


FIELDS.update({code: text for code, text in words.FIELDS.items() if code not in FIELDS})

# Sentences more exact than the code's own, by the `reason` an error carries.
REASONS: Mapping[str, Mapping[str, str]] = {
    "conflict": words.CONFLICTS,
    "correction_refused": {
        "whole_study": N_("不能移走全部序列；请改用“合并检查”。"),
        "same_study": N_("请选择另一项检查。"),
        "no_series": N_("请至少选择一个序列。"),
        "no_such_correction": N_("这项更正已经撤销。请刷新查看。"),
        "decided_already": N_("这个文件已有处理结果，请先撤销。"),
        "no_such_item": N_("这个文件已按此处理。请刷新查看。"),
    },
    "removal_refused": words.REMOVALS,
    "document_refused": {
        "empty": N_("这个文件是空的。请重新选择文件。"),
        "too_large": N_("这个文件太大。请压缩或分开后再上传。"),
        "not_supported": N_("这种格式不能作为附件。请上传 PDF、JPEG 或 PNG。"),
        "damaged": N_("这个文件已损坏或不完整，无法打开。请重新导出或重新拍照后再上传。"),
        "too_many_pages": N_("这个 PDF 超过 60 页。请只上传与会诊有关的页。"),
        "encrypted": N_("这个 PDF 设有密码，无法打开。请去掉密码后再上传。"),
        "too_many_pixels": N_("这张图片的像素过多，无法处理。请缩小后再上传。"),
        "took_too_long": N_("处理这个文件用时过长，已停止。请缩小或分开后再上传。"),
    },
}


def status_of(code: str) -> int:
    """The HTTP status of a code; unknown codes are our own fault: 500."""
    return TABLE[code].status if code in TABLE else 500


class Lenient(string.Formatter):
    """str.format without attribute access, which leaves unknown placeholders empty."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        del args
        return kwargs.get(field_name, ""), field_name


def fill(text: str, params: Mapping[str, Any]) -> str:
    """The sentence with its placeholders; only plain values are printed, so nothing leaks by accident."""
    plain = {key: value for key, value in params.items() if isinstance(value, str | int | float)}
    return Lenient().vformat(text, (), plain)


def field_list(fields: Iterable[tuple[Any, ...]], lang: str) -> list[dict[str, str]]:
    """[{path, code, message}] of an Invalid's fields (path, code[, params])."""
    listed = []
    for path, code, *rest in fields:
        params = rest[0] if rest and isinstance(rest[0], Mapping) else {}
        text = FIELDS.get(code, N_("此项填写有误"))
        listed.append({"path": str(path), "code": str(code), "message": fill(translate(text, lang), params)})
    return listed


def problem(
    code: str,
    *,
    lang: str,
    request_id: str,
    params: Mapping[str, Any] | None = None,
    fields: Iterable[tuple[Any, ...]] = (),
) -> dict[str, Any]:
    """The members of a problem+json body in one language."""
    known = code if code in TABLE else "internal"
    row = TABLE[known]
    given = params or {}
    detail = REASONS.get(known, {}).get(str(given.get("reason", "")), row.detail)
    return {
        "type": "about:blank",
        "title": translate(row.title, lang),
        "status": row.status,
        "code": known,
        "detail": fill(translate(detail, lang), given),
        "fields": field_list(fields, lang),
        "request_id": request_id,
    }
