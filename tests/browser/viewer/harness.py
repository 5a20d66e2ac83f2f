"""A page and a minimal DICOMweb for the viewer alone: our static files, our security policy, files in memory."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from aiohttp import web
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from tests.browser.viewer.studies import studies

STATIC = Path(__file__).resolve().parents[3] / "static"
CSP = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
PAGE = """<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>t</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/css/viewer.css">
<link rel="stylesheet" href="/static/css/ecg.css"><link rel="stylesheet" href="/harness.css">
<script type="module" src="/harness.js"></script></head><body><main id="place"></main></body></html>"""
CSS = "html,body,main{height:100%;margin:0;background:#000}"
SCRIPT = """
import { mountViewer } from '/static/dist/viewer/viewer.js';
import { mountEcg } from '/static/ecg/ecg.js';
const asked = new URLSearchParams(location.search);
const place = document.getElementById('place');
window.keyImages = []; window.states = [];
const onKeyImage = (image) => window.keyImages.push(image);
if (asked.get('ecg')) {
  window.ecg = mountEcg(place, { url: asked.get('ecg'), onKeyImage, banner: ['张三 男 56 岁'] });
} else {
  window.viewer = mountViewer(place, { studyUid: asked.get('study'), cpu: asked.has('cpu'), onKeyImage,
    identity: ['张三 男 56 岁', '证件 …1234'], onState: (state) => window.states.push(state), globalKeys: true });
}
window.mountViewer = mountViewer;
"""


class Archive:
    """Answers from memory; `broken` holds URL endings that answer 503 until they are taken out."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.asked: list[str] = []

    def instances(self, request: web.Request) -> list[Dataset]:
        found = studies().get(request.match_info["study"], [])
        for key, name in (("series", "SeriesInstanceUID"), ("sop", "SOPInstanceUID")):
            if key in request.match_info:
                found = [ds for ds in found if str(ds[name].value) == request.match_info[key]]
        if not found:
            raise web.HTTPNotFound
        return found

    @web.middleware
    async def guard(self, request: web.Request, handler) -> web.StreamResponse:
        self.asked.append(request.path)
        if any(request.path.endswith(end) for end in self.broken):
            raise web.HTTPServiceUnavailable
        response = await handler(request)
        response.headers["Content-Security-Policy"] = CSP
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def series(self, request: web.Request) -> web.Response:
        rows: dict[str, Dataset] = {}
        for ds in self.instances(request):
            row = rows.setdefault(ds.SeriesInstanceUID, Dataset())
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"):
                if name in ds:
                    setattr(row, name, ds[name].value)
            row.NumberOfSeriesRelatedInstances = int(row.get("NumberOfSeriesRelatedInstances", 0)) + 1
        return dicom_json([row.to_json_dict() for row in rows.values()])

    async def metadata(self, request: web.Request) -> web.Response:
        base = f"{request.scheme}://{request.host}/dicom-web/bulk/"
        out = []
        for ds in self.instances(request):
            item = ds.to_json_dict(bulk_data_threshold=2048, bulk_data_element_handler=lambda e: f"{base}{e.tag}")
            item["00083002"] = {"vr": "UI", "Value": [str(ds.file_meta.TransferSyntaxUID)]}
            out.append(item)
        return dicom_json(out)

    async def frame(self, request: web.Request) -> web.Response:
        ds = self.instances(request)[0]
        body, syntax = frame_bytes(ds, int(request.match_info["frame"]))
        kind = "image/jpeg" if syntax.endswith("4.50") else "application/octet-stream"
        head = f"--edge\r\nContent-Type: {kind}; transfer-syntax={syntax}\r\n\r\n".encode()
        headers = {"Content-Type": 'multipart/related; type="application/octet-stream"; boundary=edge'}
        return web.Response(body=head + body + b"\r\n--edge--\r\n", headers=headers)

    async def thumbnail(self, request: web.Request) -> web.Response:
        self.instances(request)
        grey = Image.fromarray((np.indices((64, 64)).sum(0) * 2).astype("uint8"))
        out = io.BytesIO()
        grey.save(out, "png")
        return web.Response(body=out.getvalue(), content_type="image/png")

    async def waveform(self, request: web.Request) -> web.Response:
        return web.json_response(waveform_json(self.instances(request)[0]))

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.guard])
        study = "/dicom-web/studies/{study}"
        instance = study + "/series/{series}/instances/{sop}"
        app.add_routes(
            [
                web.get("/", text(PAGE, "text/html")),
                web.get("/harness.js", text(SCRIPT, "text/javascript")),
                web.get("/harness.css", text(CSS, "text/css")),
                web.get(study + "/series", self.series),
                web.get(study + "/series/{series}/metadata", self.metadata),
                web.get(study + "/series/{series}/thumbnail", self.thumbnail),
                web.get(instance + "/frames/{frame}", self.frame),
                web.get(instance + "/waveform", self.waveform),
                web.static("/static", STATIC),
            ]
        )
        return app


def text(body: str, content_type: str):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type=content_type)

    return answer


def dicom_json(items: list) -> web.Response:
    return web.Response(body=json.dumps(items).encode(), content_type="application/dicom+json")


def frame_bytes(ds: Dataset, frame: int) -> tuple[bytes, str]:
    syntax = ds.file_meta.TransferSyntaxUID
    count = int(ds.get("NumberOfFrames") or 1)
    if syntax.is_compressed:
        return list(generate_frames(ds.PixelData, number_of_frames=count))[frame - 1], str(syntax)
    size = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8
    return ds.PixelData[size * (frame - 1) : size * frame], str(syntax)


def waveform_json(ds: Dataset) -> dict:
    """The archive's waveform answer for the first multiplex group (12 leads)."""
    group = ds.WaveformSequence[0]
    raw = np.frombuffer(group.WaveformData, "<i2").reshape(-1, group.NumberOfWaveformChannels)
    leads = []
    for at, channel in enumerate(group.ChannelDefinitionSequence):
        unit = channel.ChannelSensitivityUnitsSequence[0].CodeValue
        factor = {"uV": 1.0, "mV": 1000.0}[unit] * float(channel.get("ChannelSensitivityCorrectionFactor", 1))
        leads.append(
            {
                "name": channel.ChannelSourceSequence[0].CodeMeaning.removeprefix("Lead ").split(" (")[0],
                "unit": "uV",
                "scale": float(channel.ChannelSensitivity) * factor,
                "offset": float(channel.get("ChannelBaseline", 0)) * factor,
                "samples": base64.b64encode(raw[:, at].astype("<i2").tobytes()).decode(),
                "gap": None,
            }
        )
    return {
        "samplingHz": float(group.SamplingFrequency),
        "leads": leads,
        "acquired": "2026-11-20T09:15:00+08:00",
        "annotations": [{"text": "窦性心律", "lead": None, "start": None, "end": None}],
        "measurements": {"heartRate": 66, "pr": 160, "qrs": 92, "qt": 390, "qtc": 409, "axis": 45},
    }
