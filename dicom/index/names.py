"""Person names for searching (PS3.4 §C.2.2.2.1, PS3.5 §6.2.1): upper-cased, every representation on its own."""

from __future__ import annotations

import unicodedata

from dicom.index.pinyin import sounds


def name_search(name: str) -> str:
    """`=`-delimited forms: each component group as written and without its carets ('张^三' is also found as '张三')."""
    forms: list[str] = []
    for group in name.split("="):
        plain = fold(group)
        if not plain:
            continue
        joined = plain.replace("^", "" if any(ord(c) > 0x2FFF for c in plain) else " ")
        for form in (plain, joined):
            if form not in forms:
                forms.append(form)
    return "=" + "".join(f"{form}=" for form in forms)


def name_sound(name: str) -> str:
    """`=`-delimited forms of how the name sounds (`dicom.index.pinyin`), for wildcard and fuzzy matching only."""
    forms: dict[str, None] = {}
    for group in name.split("="):
        forms.update(dict.fromkeys(sounds(unicodedata.normalize("NFKC", group).strip())))
    return "=" + "".join(f"{form}=" for form in forms)


def fold(text: str) -> str:
    """Upper case, full-width letters made narrow, trailing delimiters dropped."""
    return unicodedata.normalize("NFKC", text).strip().upper().rstrip("^ ").strip()
