"""The archive's error codes: which HTTP status, and what a person is told. Upload pages use the same sentences."""

from __future__ import annotations

from aiohttp import web

from dicom.errors import DicomError
from server.i18n import N_, _

STATUS: dict[str, int] = {
    "archive_error": 500,
    "refused": 400,
    "not_found": 404,
    "bad_query": 400,
    "not_acceptable": 406,
    "unsupported": 422,
    "cannot_render": 422,
    "worker_failed": 422,
    "worker_timeout": 422,
    "io_error": 500,
    "integrity": 500,
    "correction_refused": 409,
    "busy": 503,
}
"""Status by class of error (`DicomError.code`); a test compares it with the classes."""

_BY_REASON: dict[str, int] = {
    "disk_full": 507,
    "over_quota": 507,
    "too_large": 413,
    "too_large_to_decode": 413,
    # It was here, and what is left of it is not what was stored: gone, until the same bytes come again.
    "damaged": 410,
    "pack_missing": 410,
    "pack_short": 410,
}

NO_ROOM = frozenset({"disk_full", "over_quota"})

TEXTS: dict[str, str] = {
    "not_dicom": N_("不是 DICOM 文件。请选择影像设备导出的 DICOM 文件。"),
    "empty": N_("文件是空的。请重新导出后再上传。"),
    "truncated": N_("文件不完整，可能在导出或复制时中断。请重新导出后再上传。"),
    "malformed": N_("文件已损坏，无法读取。请重新导出后再上传。"),
    "too_large": N_("文件超过允许的大小。"),
    "too_deep": N_("文件结构异常（嵌套过深），已拒收。"),
    "too_many_elements": N_("文件结构异常（数据项过多），已拒收。"),
    "media_directory": N_("这是光盘目录文件（DICOMDIR），不含影像，无需上传。"),
    "missing_uid": N_("文件缺少检查、序列或影像编号（UID），无法归档。"),
    "invalid_uid": N_("文件中的编号（UID）不合规范，无法归档。"),
    "missing_sop_class": N_("文件没有说明影像类型，无法归档。"),
    "wrong_study": N_("文件属于另一项检查，没有存入。"),
    "inflates_too_large": N_("文件解压后过大，已拒收。"),
    "unreadable": N_("文件内容无法读取，已拒收。"),
    "bad_metadata": N_("元数据（JSON 或 XML）无法读取，没有存入。"),
    "missing_bulkdata": N_("元数据引用的数据没有随请求送来，没有存入。"),
    "bulkdata_not_supported": N_("不支持这种格式的像素数据，没有存入。"),
    "other_bytes": N_("同一编号的影像已存在但内容不同。原影像保持不变，新文件已隔离，等待技师处理。"),
    "disk_full": N_("服务器存储空间不足，文件没有保存。请通知管理员后重试。"),
    "over_quota": N_("本机构的影像存储空间已用完，文件没有保存。请联系平台管理员。"),
    "io_error": N_("服务器存储出错，文件没有保存。请稍后重试。"),
    "busy": N_("系统正忙，请稍后重试。"),
    "not_found": N_("没有找到，或者您无权查看。"),
    "damaged": N_("这幅影像的存储数据已损坏，不再给出。请重新上传原始影像，或请管理员从备份恢复。"),
    "pack_missing": N_("这幅影像的存储数据已丢失。请重新上传原始影像，或请管理员从备份恢复。"),
    "pack_short": N_("这幅影像的存储数据不完整，不再给出。请重新上传原始影像，或请管理员从备份恢复。"),
    "metadata_too_deep": N_("数据项嵌套过深，无法列出元数据，可以下载原始文件。"),
    "metadata_too_long": N_("数据项过多，无法列出元数据，可以下载原始文件。"),
    "metadata_unreadable": N_("无法列出元数据，可以下载原始文件。"),
    "no_such_frame": N_("没有这一帧图像。"),
    "no_document": N_("这里没有可以打开的文档。"),
    "no_pixels": N_("这一项没有图像。"),
    "no_waveform": N_("这一项没有波形。"),
    "no_dimensions": N_("图像没有说明尺寸，无法显示。"),
    "pixel_data_short": N_("图像数据不完整，无法显示。"),
    "frames_unclear": N_("多帧图像的分帧信息缺失，无法显示。"),
    "size_differs": N_("图像尺寸与说明不符，无法显示。"),
    "code_stream_damaged": N_("图像压缩数据已损坏，无法显示。"),
    "transfer_syntax_not_decoded": N_("暂不支持这种压缩格式，可以下载原始文件查看。"),
    "odd_bits_allocated": N_("像素的位宽不合规范，无法显示，可以下载原始文件查看。"),
    "photometric_retired": N_("图像使用已停用的颜色格式，无法显示，可以下载原始文件查看。"),
    "lut_damaged": N_("图像的灰度或颜色查找表已损坏，无法显示。"),
    "no_palette": N_("图像缺少调色板，无法显示。"),
    "empty_viewport": N_("所要的区域不在图像内。"),
    "bad_window": N_("窗宽窗位参数无效。"),
    "bad_viewport": N_("图像尺寸或区域参数无效。"),
    "bad_quality": N_("图像质量参数应为 1 到 100。"),
    "bad_annotation": N_("图像标注参数只能是 patient 和 technique。"),
    "bad_frame_list": N_("帧号列表无效。"),
    "encapsulated_bulkdata": N_("这项数据是分段保存的，请按帧获取。"),
    "no_content": N_("结构化报告没有内容，无法显示。"),
    "too_large_to_decode": N_("图像过大，无法在服务器上显示。"),
    "waveform_damaged": N_("波形数据已损坏，无法显示。"),
    "waveform_short": N_("波形数据不完整，无法显示。"),
    "waveform_encoding": N_("暂不支持这种波形编码。"),
    "bits_not_supported": N_("这种像素位深不能转换成所要求的压缩格式。"),
    "photometric_not_supported": N_("这种颜色格式不能转换成所要求的压缩格式。"),
    "transfer_syntax_not_encoded": N_("不支持转换成所要求的压缩格式。"),
    "video_not_decoded": N_("视频不逐帧解码，只能按原格式获取。"),
    "encapsulated_inside": N_("文件内嵌有压缩的子图像，不能转换。"),
    "bad_wado_request": N_("WADO 请求缺少必要参数（requestType、studyUID、seriesUID、objectUID）。"),
    "not_anonymized": N_("此接口不提供匿名化的影像。"),
    "not_acceptable": N_("无法按要求的格式给出内容。"),
    "worker_timeout": N_("处理时间过长，已停止。"),
    "bad_multipart": N_("上传内容的格式不正确。"),
    "cut_multipart": N_("上传中断，后面的文件没有收到。请重新上传。"),
    "no_holder": N_("当前身份没有所属机构，不能上传影像。"),
}
_OTHER = N_("影像请求无法完成。")


def text_of(reason: str | None) -> str:
    """The sentence for a reason code, in the language of the present request."""
    return _(TEXTS.get(reason or "", _OTHER))


def problem_response(error: DicomError) -> web.Response:
    """`application/problem+json` (RFC 9457) with our member `code`."""
    status = _BY_REASON.get(error.reason, STATUS.get(error.code, 500))
    return web.json_response(
        {"type": "about:blank", "title": text_of(error.reason), "status": status, "code": error.reason},
        status=status,
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )
