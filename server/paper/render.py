"""The press: report content in, unsigned A4 PDF/A-2b out.

The template is a fixed file; everything typed reaches it as values of one JSON text in `sys.inputs`, never as markup.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import typst
from pylopdf_fonts_zh_cn import sans_path, serif_path

from consult.errors import Invalid
from consult.model import ReportStatus
from server.paper.content import ReportContent, content_digest
from server.paper.glyphs import Printable, covered_by
from server.paper.images import image_svg
from server.paper.qr import qr_svg
from server.paper.words import (
    CERTAINTY,
    LABELS,
    PART,
    SERVICE,
    SEX,
    STATUS,
    URGENCY,
    translator,
)

DIGEST_KEYWORD = "huizhen-content-sha256:"
_TEMPLATE = Path(__file__).with_name("report.typ")
_CODE = re.compile(r"[0-9A-Za-z-]{4,64}")


class PaperPress:
    """One warm typst compiler behind a lock. Construct once (it reads fonts and sets one page), share between threads.

    About 10 ms a page once warm; every call reports the same bytes for the same content.
    """

    def __init__(self) -> None:
        fonts = (Path(sans_path()), Path(serif_path()))
        self._printable = Printable(covered_by(fonts))
        self._template = _TEMPLATE.read_bytes()
        self._compiler = typst.Compiler(
            self._template,
            font_paths=typst.Fonts(
                include_system_fonts=False,
                include_embedded_fonts=False,
                font_paths=sorted({str(path.parent) for path in fonts}),
            ),
            ignore_system_fonts=True,
        )
        self._lock = Lock()
        self._warm()

    def render(self, content: ReportContent) -> bytes:
        """The unsigned PDF. Raises Invalid for text that is too long or a key image that cannot be printed."""
        digest = content_digest(content)
        pdf = self._compile(_page_data(content, self._printable, digest), content.issued_at)
        # What cannot be decoded the typesetter leaves out silently: count what arrived.
        if pdf.count(b"/Subtype/Image") < len({image.data for image in content.key_images}):
            raise Invalid(("key_images", "unusable_image"))
        return pdf

    def _compile(self, data: dict[str, Any], at: datetime) -> bytes:
        text = json.dumps(data, ensure_ascii=False)
        with self._lock:
            try:
                pdf = self._compiler.compile(
                    self._template,
                    format="pdf",
                    sys_inputs={"data": text},
                    pdf_standards=["a-2b"],
                    timestamp=at,
                )
            except typst.TypstError as error:
                # The text of the diagnostic may quote the patient: only that it failed leaves this room.
                if "image" in error.message or "SVG" in error.message:
                    raise Invalid(("key_images", "unusable_image")) from None
                raise PressError("the page could not be set") from None
        assert isinstance(pdf, bytes)
        return pdf

    def _warm(self) -> None:
        """The first page reads the fonts; nobody's signature should wait for that."""
        from server.paper.specimen import blank_content

        for language in ("zh", "en"):
            self.render(blank_content(language))


class PressError(RuntimeError):
    """The typesetter refused a page: a fault of ours, never of the input."""


def _page_data(content: ReportContent, printable: Printable, digest: str) -> dict[str, Any]:
    """Display-ready strings for report.typ; the template decides only where they stand."""
    say = translator(content.language)
    line = printable.line
    if not _CODE.fullmatch(content.code):
        raise Invalid(("code", "malformed"))

    def label(key: str, **values: object) -> str:
        return say(LABELS[key]).format(**values) if values else say(LABELS[key])

    patient = content.patient
    facts = [
        (label("name"), patient.name),
        (label("sex"), say(SEX[patient.sex])),
        (label("age"), patient.age),
        (label("birth_date"), _day(patient.birth_date)),
        (label("document"), patient.document_last_four),
        (label("card"), patient.card),
        (label("service"), say(SERVICE[content.service])),
        (label("urgency"), say(URGENCY[content.urgency])),
        (label("doctor"), content.clinic_doctor),
        (label("requested_at"), _moment(content.requested_at)),
        (label("issued_at"), _moment(content.issued_at)),
    ]
    reason_label = label("reason_appended" if content.status is ReportStatus.APPENDED else "reason_amended")
    return {
        "lang": content.language,
        "colon": label("colon"),
        "institution": line(content.serving.name),
        "title": label("title"),
        "number": f"{label('number')} {line(content.number)}",
        "status": f"{say(STATUS[content.status])} · {label('version', n=content.version)}",
        "final": content.status is ReportStatus.FINAL,
        "keywords": [DIGEST_KEYWORD + digest],
        "running": "　".join(
            part
            for part in (
                line(patient.name), say(SEX[patient.sex]), line(patient.age), line(content.number),
            )
            if part
        ),
        "institutions": [
            {"label": label(key), "name": line(place.name), "department": line(place.department)}
            for key, place in (("requesting", content.requesting), ("serving", content.serving))
        ],
        "facts": [{"label": name, "value": line(value) or "—"} for name, value in facts],
        "critical": label("critical") if content.critical else "",
        "reason": {"label": reason_label, "lines": printable.lines(content.reason)},
        "sections": _sections(content, printable, label, say),
        "images": _images(content, printable, label),
        "signatures": {
            "heading": label("signatures"),
            "rows": [
                {
                    "part": say(PART[signer.part]),
                    "name": line(signer.name),
                    "title": line(signer.title),
                    "licence": f"{label('licence')} {line(signer.licence)}" if signer.licence else "",
                    "organisation": line(signer.organisation),
                }
                for signer in content.signers
            ],
            "at": f"{label('issued_at')} {_moment(content.issued_at)}",
            "note": label("signed_note"),
        },
        "code": f"{label('code')} {content.code}",
        "verify": label("verify"),
        "url": printable.exact(content.verify_url),
        "qr": qr_svg(content.verify_url),
        "page": say(LABELS["page"]),
        "demo": label("demo") if content.demo else "",
    }


def _sections(
    content: ReportContent, printable: Printable, label: Callable[..., str], say: Callable[[str], str]
) -> list[dict[str, Any]]:
    """The body in printing order; what is empty is left out."""
    sections: list[dict[str, Any]] = []
    if content.questions:
        sections.append({
            "kind": "questions",
            "heading": label("questions"),
            "items": [
                {
                    "question": f"{label('question', n=item.number)}{label('colon')}{printable.line(item.question)}",
                    "answer": printable.lines(item.answer) or ["—"],
                }
                for item in content.questions
            ],
        })

    def text(key: str, value: str) -> None:
        lines = printable.lines(value)
        if lines:
            sections.append({"kind": "text", "heading": label(key), "lines": lines})

    text("materials", content.materials)
    text("findings", content.findings)
    if content.diagnoses:
        sections.append({
            "kind": "diagnoses",
            "heading": label("diagnoses"),
            "columns": [label("diagnosis"), label("icd10"), label("certainty")],
            "items": [
                [
                    printable.line(item.text),
                    printable.line(item.icd10) or "—",
                    say(CERTAINTY[item.certainty]) if item.certainty in CERTAINTY
                    else printable.line(item.certainty) or "—",
                ]
                for item in content.diagnoses
            ],
        })
    text("advice", content.advice)
    text("further_tests", content.further_tests)
    text("referral_advice", content.referral_advice)
    text("follow_up", _day(content.follow_up))
    text("limits", content.limits)
    return sections


def _images(content: ReportContent, printable: Printable, label: Callable[..., str]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for index, image in enumerate(content.key_images):
        svg, ratio = image_svg(image.data, path=f"key_images.{index}")
        caption = printable.line(image.caption)
        items.append({
            "svg": svg,
            "ratio": ratio,
            "caption": f"{label('image', n=index + 1)}　{caption}".rstrip(),
            "source": f"{printable.line(image.sop_uid)}　{label('frame', n=image.frame)}",
        })
    return {"heading": label("key_images"), "items": items}


def _day(value: date | None) -> str:
    return "" if value is None else value.strftime("%Y-%m-%d")


def _moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M")


__all__: Sequence[str] = ("DIGEST_KEYWORD", "PaperPress", "PressError")
