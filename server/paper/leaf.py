"""Pages of the archive's own objects: a structured report to be read, a waveform's sheet on paper."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import jinja2
from pylopdf_fonts_zh_cn import sans_path

from server.paper.glyphs import Printable, covered_by

_TEMPLATE = Path(__file__).with_name("leaf.typ")
_TEMPLATES = Path(__file__).parents[1] / "templates"


class Leaves:
    """Makes pages. Cheap to construct: fonts and templates are read with the first page. Safe between threads."""

    def __init__(self) -> None:
        self._lock = Lock()

    def html(self, document: dict[str, Any]) -> bytes:
        """A structured report (`server.dicomweb.reading.readable`) as a page that needs nothing else; all escaped."""
        return self._page.render(d=document).encode()

    def report_pdf(self, document: dict[str, Any], at: datetime) -> bytes:
        """The same on A4. Characters that no font has are printed as their code points. Blocks."""
        with self._lock:
            printable = self._printable
        return self._compile({"kind": "report", **_printed(document, printable)}, at)

    def sheet_pdf(self, svg: bytes, at: datetime) -> bytes:
        """A drawn A4 sheet as PDF, its lines as lines. Blocks."""
        return self._compile({"kind": "sheet", "lang": "zh", "svg": svg.decode()}, at)

    def _compile(self, data: dict[str, Any], at: datetime) -> bytes:
        import typst  # the server starts without it

        from server.paper.render import PressError

        text = json.dumps(data, ensure_ascii=False)
        with self._lock:
            try:
                pdf = self._compiler.compile(
                    self._template, format="pdf", sys_inputs={"data": text}, timestamp=at.replace(microsecond=0)
                )
            except typst.TypstError:
                # The text of the diagnostic may quote the patient: only that it failed leaves this room.
                raise PressError("the page could not be set") from None
        assert isinstance(pdf, bytes)
        return pdf

    @cached_property
    def _template(self) -> bytes:
        return _TEMPLATE.read_bytes()

    @cached_property
    def _printable(self) -> Printable:
        return Printable(covered_by((Path(sans_path()),)))

    @cached_property
    def _compiler(self) -> Any:
        import typst

        fonts = typst.Fonts(
            include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(Path(sans_path()).parent)]
        )
        return typst.Compiler(self._template, font_paths=fonts, ignore_system_fonts=True)

    @cached_property
    def _page(self) -> jinja2.Template:
        loader = jinja2.FileSystemLoader(_TEMPLATES)
        templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        return templates.get_template("structured.html")


def _printed(document: dict[str, Any], printable: Printable) -> dict[str, Any]:
    """The document with every text fit for the page."""

    def item(one: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": printable.line(one["name"]),
            "value": "\n".join(printable.lines(one["value"])),
            "note": printable.line(one["note"]),
            "items": [item(child) for child in one["items"]],
        }

    return {
        "lang": document["lang"],
        "colon": document["colon"],
        "title": printable.line(document["title"]),
        "facts": [printable.line(fact) for fact in document["facts"]],
        "items": [item(one) for one in document["items"]],
    }
