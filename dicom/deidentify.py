"""De-identification by the Basic Application Level Confidentiality Profile (PS3.15 Annex E) and some of its options.

What stands in the table is treated as it says, at every level; beyond it, private and unknown attributes, curves,
overlays and everything behind the pixels go, every UID that the standard did not give is replaced, every person's name
too. What then remains is searched for the values that named the patient, and emptied where one is found. An instance
that still holds one, in its header or in its code streams, is refused, not written. Words burned into the picture are
beyond this: they are warned of.

Runs in worker processes only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset as Elements
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dicom.deidentify_table import ACTIONS, EDITION
from dicom.elements import Element
from dicom.errors import RefusedError
from dicom.json_model import JsonWriter
from dicom.part10 import build_prefix
from dicom.syntaxes import STRUCTURED, is_explicit, is_little

if TYPE_CHECKING:
    from dicom.workers.ops import Dataset

_DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104."
_KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
_STANDARD = "1.2.840.10008."
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_DATED = frozenset({"DA", "DT", "TM"})
_PIXEL_GROUP = 0x7FE0
# Whose values name the patient or the visit, besides every person's name: searched for in what remains.
_NAMING = frozenset(
    {0x00080050, 0x00080080, 0x00080081, 0x00200010, 0x00321066, 0x00380010, 0x00380060, 0x00402016, 0x00402017}
)
_NOT_NAMING = frozenset({0x00100040, 0x00101010, 0x00101020, 0x00101030, 0x00102160, 0x001021A0, 0x001021C0})
_BURNING = frozenset({"ES", "GM", "OT", "RF", "SC", "US", "IVUS", "XA", "XC", "OP", "DOC", "ECG"})
# Free text of content items, which the table leaves to an option that is not offered.
_FREE_TEXT: dict[int, tuple[str, frozenset[str]]] = {0x0040A160: ("D", frozenset())}
_MOST_SEARCHED = 512 << 20
_CODES = {
    "basic": ("113100", "Basic Application Confidentiality Profile"),
    "text": ("113105", "Clean Descriptors Option"),
    "full": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "modified": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`dates`: remove, modified (all of one patient moved by the same number of days) or full. The others keep device,
    patient characteristics, and descriptions (`text`, searched for names).
    """

    dates: str = "remove"
    device: bool = False
    patient: bool = False
    text: bool = False

    @property
    def kept(self) -> frozenset[str]:
        """The names of the options as the table has them."""
        chosen = {"dates": self.dates != "remove", "device": self.device, "patient": self.patient, "text": self.text}
        return frozenset(name for name, on in chosen.items() if on)


@dataclass(slots=True, kw_only=True)
class Profile:
    """One export: under the same `secret` a UID, a patient and a date always become the same."""

    secret: bytes
    options: Options
    needles: set[bytes] = field(default_factory=set)
    shift: int = 0

    def uid(self, original: str) -> str:
        """The UID that stands for the original; what the standard gave out stays."""
        if not original or original.startswith(_STANDARD):
            return original
        return f"2.25.{int.from_bytes(self._keyed('uid', original)[:15], 'big')}"

    def pseudonym(self, patient: str) -> str:
        """What stands for a patient."""
        return f"ANON{self._keyed('patient', patient).hex()[:12].upper()}"

    def days(self, patient: str) -> int:
        """By how many days this patient's dates move: one to ten years back."""
        return -(365 + int.from_bytes(self._keyed("days", patient)[:4], "big") % 3285)

    def _keyed(self, kind: str, value: str) -> bytes:
        return hmac.digest(self.secret, f"{kind}\x1f{value}".encode(), hashlib.sha256)


def deidentify(dataset: Dataset, profile: Profile) -> dict[str, Any]:
    """`head` (the file up to its pixels), `pixels` (offset and length in the dataset, or None), `warnings`, `sop`.

    Raises RefusedError: `document_not_cleaned`, `identity_left`, `unreadable`, `too_many_elements`.
    """
    _weigh(dataset)
    split, end, _ = _pixel_span(dataset)
    encoding = {"is_implicit_VR": not is_explicit(dataset.syntax), "is_little_endian": is_little(dataset.syntax)}
    ds = read_dataset(DicomBytesIO(dataset.window.bytes(0, split)), bytelength=split, **encoding)
    kind = str(ds.SOPClassUID)
    if kind.startswith(_DOCUMENTS) or 0x00420011 in ds or (kind.startswith(STRUCTURED) and kind != _KEY_OBJECTS):
        raise RefusedError(code="document_not_cleaned")
    warnings = _warnings(ds)
    patient = str(ds.get("PatientID", "")) + "\x1f" + str(ds.get("IssuerOfPatientID", ""))
    profile.needles = set(_names(ds))
    profile.shift = profile.days(patient)
    _clean(ds, profile)
    _mark(ds, profile, profile.pseudonym(patient))
    head = _written(ds, **encoding)
    if any(needle in head.lower() for needle in profile.needles):
        raise RefusedError(code="identity_left")
    if end > split and not _pixels_clean(dataset, split, end, profile.needles):
        raise RefusedError(code="identity_left")
    sop = str(ds.SOPInstanceUID)
    prefix = build_prefix(sop_class=str(ds.SOPClassUID), sop_uid=sop, transfer_syntax=dataset.syntax)
    pixels = [split, end - split] if end > split else None
    tail = dataset.window.bytes(split, end - split) if dataset.inflated and pixels else b""
    return {
        "head": prefix + head + tail,
        "pixels": None if dataset.inflated else pixels,
        "warnings": warnings,
        "sop": sop,
        "series": str(ds.SeriesInstanceUID),
    }


def _weigh(dataset: Dataset) -> None:
    """Refuse more elements, at all depths, than something is made of: pydicom makes an object of every one."""
    walker = dataset.walker
    vr_of = JsonWriter(walker, lambda tag: dictionary_VR(tag) if dictionary_has_tag(tag) else "").vr_of

    def weigh(elements: Iterable[Element], depth: int) -> None:
        found = list(elements)
        walker.make(1 + len(found))
        for element in found:
            if vr_of(element) == "SQ":
                for start, end, explicit in walker.items(element):
                    limit = element.end if end is None else end
                    weigh(walker.elements(start, limit, depth=depth, explicit=explicit), depth + 1)

    try:
        weigh(walker.elements(), 1)
    except RefusedError as error:
        if error.reason == "too_many_elements":
            raise  # what else is wrong with it, pydicom may read all the same


def _pixel_span(dataset: Dataset) -> tuple[int, int, int]:
    """Where the header ends and the pixels end; what stands behind them (signatures, padding) is left out."""
    split = end = dataset.window.length
    position = 0
    for element in dataset.walker.elements():
        if element.tag >> 16 > _PIXEL_GROUP:
            break
        if element.tag >> 16 == _PIXEL_GROUP:
            split = min(split, position)
            end = element.end
        position = element.end
    return (split, end, position) if split < dataset.window.length else (position, position, position)


def _clean(ds: Elements, profile: Profile) -> None:
    kept = profile.options.kept
    for element in list(ds):
        tag, vr = int(element.tag), str(element.VR)
        group = tag >> 16
        if element.tag.is_private or not dictionary_has_tag(tag) or group & 0xFF00 in {0x5000, 0x6000} or vr == "UN":
            del ds[element.tag]
            continue
        action, options = ACTIONS.get(tag, _FREE_TEXT.get(tag, ("", frozenset())))
        if vr in _DATED and not action:
            action, options = "Z", frozenset({"dates"})
        if options & kept:
            _keep(ds, element, profile)
        elif action == "X":
            del ds[element.tag]
        elif vr == "UI":
            _replace_uids(element, profile)
        elif vr == "SQ" and action != "Z":
            for item in element.value:
                _clean(item, profile)
        elif action == "Z" or (vr == "PN" and not action):
            ds[element.tag] = DataElement(element.tag, vr, Sequence() if vr == "SQ" else None)
        elif action in {"D", "U"}:
            ds[element.tag] = DataElement(element.tag, vr, _dummy(vr))
        else:
            _keep(ds, element, profile)


def _keep(ds: Elements, element: DataElement, profile: Profile) -> None:
    """An attribute that stays: dates moved, UIDs replaced, what repeats the patient's name emptied."""
    vr = str(element.VR)
    if vr == "SQ":
        for item in element.value:
            _clean(item, profile)
    elif vr == "UI":
        _replace_uids(element, profile)
    elif vr == "PN":
        ds[element.tag] = DataElement(element.tag, vr, None)
    elif vr in {"DA", "DT"}:
        if profile.options.dates == "modified":
            element.value = _moved(str(element.value or ""), profile.shift)
        elif profile.options.dates == "remove":
            ds[element.tag] = DataElement(element.tag, vr, None)
    elif vr in _TEXTS and _holds(element, profile.needles, ds):
        ds[element.tag] = DataElement(element.tag, vr, None)


def _replace_uids(element: DataElement, profile: Profile) -> None:
    values = element.value if element.VM > 1 else [element.value] if element.value else []
    fresh = [profile.uid(str(value)) for value in values]
    element.value = fresh if len(fresh) != 1 else fresh[0]


def _moved(text: str, days: int) -> str | None:
    """A date or date-time some days on; None for what is no date."""
    try:
        day = date(int(text[:4]), int(text[4:6]), int(text[6:8])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return day.strftime("%Y%m%d") + text[8:]


def _dummy(vr: str) -> Any:
    """A value that says nothing, of the right kind."""
    return {
        "DA": "20000101", "DT": "20000101000000", "TM": "000000", "AS": "000Y", "IS": "0", "DS": "0", "UI": "2.25.0",
        "US": 0, "UL": 0, "SS": 0, "SL": 0, "FL": 0.0, "FD": 0.0, "SV": 0, "UV": 0, "AT": 0,
        "OB": b"\0\0", "OW": b"\0\0", "UN": b"\0\0", "OF": bytes(4), "OL": bytes(4), "OD": bytes(8), "OV": bytes(8),
    }.get(vr, "ANON")  # fmt: skip


def _names(ds: Elements) -> Iterator[bytes]:
    """The values that name somebody, as they are written, in lower case: whole, and the parts of names."""
    for element in ds.iterall():
        tag, vr = int(element.tag), str(element.VR)
        naming = vr == "PN" or tag in _NAMING or (tag >> 16 == 0x0010 and vr in _TEXTS and tag not in _NOT_NAMING)
        if not naming or vr == "CS" or not element.value:
            continue
        for value in element.value if element.VM > 1 else [element.value]:
            for whole in str(value).split("="):
                for text in _forms(whole) if vr == "PN" else {whole.strip()}:
                    if len(text) >= (4 if text.isascii() else 2):
                        yield from _spelt(text, ds)


def _forms(name: str) -> set[str]:
    """A name as it stands in a dataset, its parts, and as people write it: 张三, Li Na, Na Li, LiNa."""
    parts = [part.strip() for part in name.split("^") if part.strip()]
    joined = {glue.join(order) for glue in ("", " ") for order in (parts[:2], parts[1::-1])}
    return {name.strip("^ "), *parts, *joined}


def _spelt(text: str, ds: Elements) -> Iterator[bytes]:
    """A text in lower case in every encoding that it could be written in here."""
    encodings = {"utf-8", "gb18030", "latin-1", *(c for c in (getattr(ds, "_character_set", None) or []) if c)}
    for encoding in encodings:
        try:
            yield text.encode(encoding).lower()
        except (UnicodeEncodeError, LookupError):
            continue


def _holds(element: DataElement, needles: set[bytes], ds: Elements) -> bool:
    text = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value or "")
    return any(needle in spelt for spelt in _spelt(text, ds) for needle in needles)


def _mark(ds: Elements, profile: Profile, pseudonym: str) -> None:
    """Who the patient now is, and what was done (PS3.15 §E.1.1, PS3.3 §C.7.1.1, §C.12.1)."""
    ds.PatientName, ds.PatientID = pseudonym, pseudonym
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = f"Huizhen, {EDITION} Annex E"
    options = profile.options
    names = ["basic", *(name for name in ("text", "patient", "device") if name in options.kept)]
    if options.dates != "remove":
        names.append(options.dates)
    items = []
    for name in names:
        item = Elements()
        item.CodeValue, item.CodeMeaning = _CODES[name]
        item.CodingSchemeDesignator = "DCM"
        items.append(item)
    ds.DeidentificationMethodCodeSequence = items
    said = {"remove": "REMOVED", "modified": "MODIFIED", "full": "UNMODIFIED"}
    ds.LongitudinalTemporalInformationModified = said[options.dates]


def _written(ds: Elements, *, is_implicit_VR: bool, is_little_endian: bool) -> bytes:  # noqa: N803 - pydicom's words
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = is_implicit_VR, is_little_endian
    write_dataset(out, ds)
    return bytes(out.getvalue())


def _pixels_clean(dataset: Dataset, start: int, end: int, needles: set[bytes]) -> bool:
    """Whether no code stream carries a name in its comments. Samples say nothing by themselves and are not searched."""
    if not dataset.syntax.startswith("1.2.840.10008.1.2.4."):
        return True
    if end - start > _MOST_SEARCHED:
        return False
    longest = max(map(len, needles), default=0)
    piece, last = 4 << 20, b""
    for offset in range(start, end, piece):
        data = last + dataset.window.bytes(offset, min(piece, end - offset)).lower()
        if any(needle in data for needle in needles):
            return False
        last = data[-longest:] if longest else b""
    return True


def _warnings(ds: Elements) -> list[str]:
    """`burned_in_said`: the dataset says that words stand in the picture; `burned_in_likely`: it is of a kind that
    often has them.
    """
    said = str(ds.get("BurnedInAnnotation", "")).upper()
    if said == "YES":
        return ["burned_in_said"]
    likely = str(ds.get("Modality", "")) in _BURNING or "SECONDARY" in [str(v) for v in ds.get("ImageType", None) or []]
    return ["burned_in_likely"] if said != "NO" and likely and "Rows" in ds else []
