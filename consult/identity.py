"""Identity numbers and what card readers and code scanners type. Pure functions.

The citizen identification number is GB 11643-1999: six digits of the district, eight of the birth date, three of a
serial number whose last digit is odd for men, and a check character after ISO 7064:1983 MOD 11-2.
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from typing import Any

from consult.errors import Invalid
from consult.patient import IdentifierSystem, Sex

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_OLDEST_YEAR = 1850
_RESIDENT = re.compile(r"(?<![0-9])[0-9]{17}[0-9Xx](?![0-9Xx])")
_NUMBER = re.compile(r"[A-Za-z]{0,3}[0-9][0-9A-Za-z-]{4,30}")
_PASSPORT = re.compile(r"[A-Z0-9]{5,20}")
_DOCUMENT = re.compile(r"[A-Z0-9()（）\-/]{3,40}")
_TRACK = re.compile(r"^(?:%[A-Za-z]|[;+])([^?=^]{4,80})(?:[=^][^?]*)?\?")
_HAN_NAME = re.compile(r"[\u3400-\u9fff·]{2,20}")
_NAME_KEYS = frozenset({"name", "xm", "姓名", "patientname", "患者姓名"})
_NUMBER_KEYS = (
    "idcard", "idno", "id", "sfzh", "证件号", "证件号码", "身份证", "身份证号", "身份证号码",
    "card", "cardno", "kh", "卡号", "健康卡号", "healthcardid", "ehealthcardid", "mzh", "门诊号",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentIdentity:
    value: str
    birth_date: date
    sex: Sex


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What was typed or scanned: the numbers in it, a name if there is one, and the text as it stands."""

    numbers: tuple[str, ...] = ()
    name: str = ""
    text: str = ""


def normalise(text: str) -> str:
    """Full-width to half-width, no spaces, upper case: how numbers are stored and compared."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).upper()


def check_character(first_seventeen: str) -> str:
    """ISO 7064 MOD 11-2 over the first seventeen digits."""
    return _CHECKS[sum(int(x) * w for x, w in zip(first_seventeen, _WEIGHTS, strict=True)) % 11]


def read_resident_id(text: str, *, path: str = "identifier", today: date | None = None) -> ResidentIdentity:
    """The number with the birth date and sex it states.

    Raises Invalid((path, code)): id_length (not 17 digits and one more), id_check_digit, id_birth_date.
    """
    value = normalise(text)
    if not re.fullmatch(r"[0-9]{17}[0-9X]", value):
        raise Invalid((path, "id_length"))
    if check_character(value[:17]) != value[17]:
        raise Invalid((path, "id_check_digit"))
    try:
        born = date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
    except ValueError:
        raise Invalid((path, "id_birth_date")) from None
    if born.year < _OLDEST_YEAR or (today is not None and born > today):
        raise Invalid((path, "id_birth_date"))
    return ResidentIdentity(
        value=value, birth_date=born, sex=Sex.MALE if int(value[16]) % 2 else Sex.FEMALE
    )


def read_identifier(
    system: IdentifierSystem, text: str, *, path: str = "identifier", today: date | None = None
) -> str:
    """The value as it is stored. Raises Invalid((path, code)): required, id_*, passport_format, number_format."""
    value = normalise(text)
    if not value:
        raise Invalid((path, "required"))
    match system:
        case IdentifierSystem.RESIDENT_ID:
            return read_resident_id(value, path=path, today=today).value
        case IdentifierSystem.PASSPORT if not _PASSPORT.fullmatch(value):
            raise Invalid((path, "passport_format"))
        case IdentifierSystem.LOCAL:
            return unicodedata.normalize("NFKC", text).strip()[:64]     # DICOM LO, as the device writes it
        case IdentifierSystem.OTHER_DOCUMENT | IdentifierSystem.CARD if not _DOCUMENT.fullmatch(value):
            raise Invalid((path, "number_format"))
    return value


def read_scan(text: str) -> Scan:
    """Takes apart what a search field receives: a name or pinyin, a number, a magnetic stripe's track
    (`;…=…?`), a JSON object of a QR code, or fields joined by `|`, `,`, `;`, tab or `姓名：…`.
    """
    raw = unicodedata.normalize("NFKC", text).strip()
    if not raw:
        return Scan()
    if raw.startswith("{"):
        return _read_json(raw)
    track = _TRACK.match(raw)
    if track:
        return Scan(numbers=tuple(_numbers(track[1])), text=track[1].strip())
    residents = [x.upper() for x in _RESIDENT.findall(raw)]
    pieces = [x.strip() for x in re.split(r"[|,;\t\n&]|(?<=[\u3400-\u9fff])[:=]", raw)]
    if len(pieces) > 1 or residents:
        words = [x for piece in pieces for x in piece.split()]
        names = [x for x in words if _HAN_NAME.fullmatch(x) and x.casefold() not in {*_NAME_KEYS, *_NUMBER_KEYS}]
        numbers = dict.fromkeys((*residents, *(n for x in words for n in _numbers(x))))
        return Scan(numbers=tuple(numbers), name=names[0] if names else "", text=raw)
    if _NUMBER.fullmatch(raw):
        return Scan(numbers=(raw.upper(),), text=raw)
    return Scan(text=raw)


def _numbers(text: str) -> list[str]:
    return [text.strip().upper()] if _NUMBER.fullmatch(text.strip()) else []


def _read_json(raw: str) -> Scan:
    try:
        value = json.loads(raw)
    except ValueError:
        residents = tuple(x.upper() for x in _RESIDENT.findall(raw))
        return Scan(numbers=residents, text=raw)
    if not isinstance(value, dict):
        return Scan(text=raw)
    fields: dict[str, Any] = {str(k).casefold().replace("_", ""): v for k, v in value.items()}
    name = next((str(v) for k, v in fields.items() if k in _NAME_KEYS and v), "")
    numbers = [
        normalise(str(fields[k]))
        for k in _NUMBER_KEYS
        if isinstance(fields.get(k), str | int) and str(fields[k]).strip()
    ]
    return Scan(numbers=tuple(dict.fromkeys(numbers)), name=name.strip(), text=name.strip())
