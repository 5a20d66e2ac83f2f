"""How Chinese names sound: every reading of each character, a surname's own reading first."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from functools import lru_cache

# Characters that read differently as a surname; the everyday readings stay searchable too.
SURNAMES = {
    "单": "shan", "曾": "zeng", "解": "xie", "仇": "qiu", "区": "ou", "查": "zha", "任": "ren", "华": "hua",
    "翟": "zhai", "朴": "piao", "尉": "yu", "缪": "miao", "乐": "yue", "盖": "ge", "冼": "xian", "洗": "xian",
    "召": "shao", "黑": "he", "折": "she", "员": "yun", "秘": "bi", "种": "chong", "牟": "mu", "繁": "po",
    "葛": "ge", "宁": "ning", "燕": "yan", "那": "na", "覃": "qin", "谌": "chen", "晁": "chao", "逄": "pang",
}  # fmt: skip
# Surnames of two characters; those whose reading is their own come first in the search text.
DOUBLE = {
    "万俟": ("mo", "qi"), "尉迟": ("yu", "chi"), "单于": ("chan", "yu"), "长孙": ("zhang", "sun"),
    "澹台": ("tan", "tai"), "欧阳": ("ou", "yang"), "司马": ("si", "ma"), "上官": ("shang", "guan"),
    "诸葛": ("zhu", "ge"), "皇甫": ("huang", "fu"), "令狐": ("ling", "hu"), "慕容": ("mu", "rong"),
    "夏侯": ("xia", "hou"), "东方": ("dong", "fang"), "司徒": ("si", "tu"), "公孙": ("gong", "sun"),
    "司空": ("si", "kong"), "宇文": ("yu", "wen"), "端木": ("duan", "mu"), "南宫": ("nan", "gong"),
    "独孤": ("du", "gu"), "西门": ("xi", "men"), "轩辕": ("xuan", "yuan"), "呼延": ("hu", "yan"),
    "申屠": ("shen", "tu"), "闻人": ("wen", "ren"), "百里": ("bai", "li"), "钟离": ("zhong", "li"),
    "太史": ("tai", "shi"), "赫连": ("he", "lian"), "濮阳": ("pu", "yang"), "淳于": ("chun", "yu"),
}  # fmt: skip
_MOST = 64


@lru_cache(maxsize=8192)
def readings(character: str) -> tuple[str, ...]:
    """Every reading of one character without tones, the commonest first; () for what has none."""
    # Loaded with the first name, not with the server; its phrases, of no use to a single character, are 40 MB.
    os.environ["PYPINYIN_NO_PHRASES"] = os.environ["PYPINYIN_NO_DICT_COPY"] = "true"
    from pypinyin import Style, pinyin

    found: list[list[str]] = pinyin(character, style=Style.NORMAL, heteronym=True, errors="ignore")
    return tuple(dict.fromkeys(reading.replace("ü", "v") for reading in found[0])) if found else ()


def surname_readings(name: str) -> list[list[str]]:
    """The readings of each character of a Chinese name, the first one's (or two's) as a surname before the others."""
    out = [list(readings(character)) for character in name]
    own = DOUBLE.get(name[:2]) or ((SURNAMES[name[0]],) if name[:1] in SURNAMES else ())
    for i, reading in enumerate(own):
        out[i] = list(dict.fromkeys([reading, *out[i]]))
    return [found for found in out if found]


def sounds(name: str) -> list[str]:
    """Forms a Latin keyboard would search for, upper case: `ZENG XIAO MING`, `ZENG XIAOMING`, `ZENGXIAOMING`, `ZXM`.

    `name` is one component group; what stands before its first caret is the surname. At most 64 readings.
    """
    surname, _, given = name.partition("^")
    plain = "".join(c for c in name if is_han(c))
    if not plain:
        return _latin(name)
    family = sum(is_han(c) for c in surname) if given else 2 if plain[:2] in DOUBLE else 1
    words = [_spellings(found) for found in surname_readings(plain)]
    out: dict[str, None] = {}
    for combination in itertools.islice(itertools.product(*words), _MOST):
        first, rest = "".join(combination[:family]), "".join(combination[family:])
        spaced = " ".join(combination[:family])
        for form in (" ".join(combination), f"{spaced} {rest}".strip(), f"{first} {rest}".strip(), first + rest):
            out[form.upper()] = None
        out["".join(word[0] for word in combination).upper()] = None
    return list(out)


def _latin(name: str) -> list[str]:
    words = [word for word in name.replace("^", " ").upper().split() if word.isascii() and word[0].isalpha()]
    return ["".join(words), "".join(word[0] for word in words)] if len(words) > 1 else []


def _spellings(found: Iterable[str]) -> list[str]:
    """`lv` is also typed lu and, in passports, lyu."""
    out: dict[str, None] = {}
    for reading in found:
        out[reading] = None
        if reading.startswith(("lv", "nv")):
            out[reading.replace("v", "u")] = None
            out[reading.replace("v", "yu")] = None
    return list(out)


def is_han(character: str) -> bool:
    """Whether it is a Chinese character."""
    number = ord(character)
    return 0x3400 <= number <= 0x9FFF or 0xF900 <= number <= 0xFAFF or number >= 0x20000
