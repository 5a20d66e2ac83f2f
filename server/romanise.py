"""Names → search text in pinyin: every reading of each character, the surname's own reading first."""

import itertools
from functools import lru_cache

from dicom.index.pinyin import DOUBLE, SURNAMES, readings

MOST_READINGS = 24


@lru_cache(maxsize=4096)
def romanise(name: str) -> str:
    """`"曾小明"` → `"zeng xiao ming|zxm|ceng xiao ming|cxm"`: readings in full and as initials, joined by `|`.

    Latin letters stay as words; characters without a reading are dropped. At most 24 combinations.
    """
    words: list[list[str]] = []
    own = DOUBLE.get(name[:2]) or ((SURNAMES[name[0]],) if name[:1] in SURNAMES else ())
    for position, part in enumerate(_parts(name)):
        if part.isascii():
            words.append([part.lower()])
            continue
        found_here = list(readings(part))
        if position < len(own):
            found_here = list(dict.fromkeys([own[position], *found_here]))
        if found_here:
            words.append(found_here)
    if not words:
        return ""
    found: dict[str, None] = {}
    for combination in itertools.islice(itertools.product(*words), MOST_READINGS):
        found[" ".join(combination)] = None
        found["".join(word[0] for word in combination)] = None
    return "|".join(found)


def _parts(name: str) -> list[str]:
    """Single characters for Chinese, whole words for Latin."""
    parts, latin = [], ""
    for character in name:
        if character.isascii() and character.isalnum():
            latin += character
            continue
        if latin:
            parts.append(latin)
            latin = ""
        if not character.isascii() and character.isalpha():
            parts.append(character)
    return [*parts, latin] if latin else parts
