"""DICOM JSON as the Native DICOM Model (PS3.19 §A.1): the same values, one XML document per instance."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape, quoteattr

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
# What XML 1.0 cannot carry at all, not even escaped.
_IMPOSSIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


def native_xml(dataset: dict[str, Any]) -> bytes:
    """The XML document of one dataset in DICOM JSON, in UTF-8."""
    out = ['<?xml version="1.0" encoding="UTF-8"?>\n', f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">']
    _attributes(dataset, out)
    out.append("</NativeDicomModel>\n")
    return "".join(out).encode()


def _attributes(dataset: dict[str, Any], out: list[str]) -> None:
    creators: dict[tuple[str, str], str] = {}
    for tag, attribute in sorted(dataset.items()):
        vr = attribute["vr"]
        about = f' tag="{tag}" vr="{vr}"'
        if int(tag[:4], 16) % 2:
            if tag[4:6] == "00" and attribute.get("Value"):
                creators[tag[:4], tag[6:]] = str(attribute["Value"][0])
            elif creator := creators.get((tag[:4], tag[4:6])):
                about += f" privateCreator={quoteattr(_text(creator))}"
        elif keyword := _keyword(tag):
            about += f' keyword="{keyword}"'
        out.append(f"<DicomAttribute{about}>")
        _content(vr, attribute, out)
        out.append("</DicomAttribute>")


def _content(vr: str, attribute: dict[str, Any], out: list[str]) -> None:
    if "BulkDataURI" in attribute:
        out.append(f"<BulkData uri={quoteattr(attribute['BulkDataURI'])}/>")
    elif "InlineBinary" in attribute:
        out.append(f"<InlineBinary>{attribute['InlineBinary']}</InlineBinary>")
    for number, value in enumerate(attribute.get("Value", ()), 1):
        if vr == "SQ":
            out.append(f'<Item number="{number}">')
            _attributes(value or {}, out)
            out.append("</Item>")
        elif value is None:
            continue
        elif vr == "PN":
            out.append(f'<PersonName number="{number}">')
            for group, text in value.items():
                parts = zip(_PARTS, text.split("^"), strict=False)
                inner = "".join(f"<{name}>{escape(_text(part))}</{name}>" for name, part in parts if part)
                out.append(f"<{group}>{inner}</{group}>")
            out.append("</PersonName>")
        else:
            out.append(f'<Value number="{number}">{escape(_text(str(value)))}</Value>')


def _text(text: str) -> str:
    return _IMPOSSIBLE.sub("", text)


@lru_cache(maxsize=4096)
def _keyword(tag: str) -> str:
    from pydicom.datadict import keyword_for_tag  # with numpy behind it: loaded with the first document, not the server

    return str(keyword_for_tag(int(tag, 16)))
