"""The Native DICOM Model (PS3.19 §A.1) as DICOM JSON: the way back of `dicom.native_xml`. Runs in worker processes.

No document type is accepted, so that there are no entities to expand.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from dicom.errors import RefusedError

_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_GROUPS = frozenset({"Alphabetic", "Ideographic", "Phonetic"})
_TEXT = frozenset({"Value", "InlineBinary", *_PARTS})


def read_native_xml(data: bytes, *, max_depth: int, max_elements: int) -> dict[str, Any]:
    """One dataset. Raises RefusedError (`bad_metadata`, `too_deep`, `too_many_elements`)."""
    builder = _Builder(max_depth, max_elements)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, KeyError) as error:
        raise RefusedError(code="bad_metadata") from error
    if not builder.found:
        raise RefusedError(code="bad_metadata")
    return builder.root


def _refuse(*_: object) -> None:
    raise RefusedError(code="bad_metadata")


def _placed(values: list[Any], number: int, value: Any) -> None:
    """Put a value at its `number`, counted from 1; what was left out between is empty."""
    if not 0 < number <= len(values) + 1000:
        raise RefusedError(code="bad_metadata")
    values += [None] * (number - len(values))
    values[number - 1] = value


class _Builder:
    """Handlers of the parser: a stack of datasets and of the attributes that are open in them."""

    def __init__(self, max_depth: int, max_elements: int) -> None:
        self.root: dict[str, Any] = {}
        self.found = False
        self._datasets = [self.root]
        self._attributes: list[dict[str, Any]] = []
        self._number = 1
        self._text: list[str] | None = None
        self._person: dict[str, str] = {}
        self._group: dict[str, str] = {}
        self._max_depth = max_depth
        self._left = max_elements

    def start(self, name: str, about: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        self._left -= 1
        if self._left < 0:
            raise RefusedError(code="too_many_elements")
        if name == "NativeDicomModel":
            self.found = True
            return
        if name == "DicomAttribute":
            attribute: dict[str, Any] = {"vr": about.get("vr", "")}
            self._datasets[-1][about["tag"]] = attribute
            self._attributes.append(attribute)
            return
        if not self._attributes:
            raise RefusedError(code="bad_metadata")
        number = int(about.get("number", "1"))
        if name == "Item":
            if len(self._datasets) > self._max_depth:
                raise RefusedError(code="too_deep")
            item: dict[str, Any] = {}
            _placed(self._attributes[-1].setdefault("Value", []), number, item)
            self._datasets.append(item)
        elif name == "BulkData":
            self._attributes[-1]["BulkDataURI"] = about.get("uri") or about["uuid"]
        elif name == "PersonName":
            self._number, self._person = number, {}
        elif name in _GROUPS:
            self._group = {}
        elif name in _TEXT:
            self._number = number if name == "Value" else self._number
            self._text = []

    def text(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def end(self, name: str) -> None:
        name = name.rpartition(" ")[2]
        text = "".join(self._text) if self._text is not None else ""
        if name == "DicomAttribute":
            self._attributes.pop()
        elif name == "Item":
            self._datasets.pop()
        elif name == "PersonName":
            _placed(self._attributes[-1].setdefault("Value", []), self._number, self._person)
        elif name in _GROUPS:
            self._person[name] = "^".join(self._group.get(part, "") for part in _PARTS).rstrip("^")
        elif name in _PARTS:
            self._group[name] = text
        elif name == "Value":
            _placed(self._attributes[-1].setdefault("Value", []), self._number, text)
        elif name == "InlineBinary":
            self._attributes[-1]["InlineBinary"] = "".join(text.split())
        if name in _TEXT:
            self._text = None
