"""Names → search text in pinyin: every reading of each character, the surname's own reading first."""

import itertools
from functools import lru_cache

MOST_READINGS = 24

# Characters that read differently as a surname; the everyday readings stay searchable too.
SURNAMES = {
    "单": "shan", "曾": "zeng", "解": "xie", "仇": "qiu", "区": "ou", "查": "zha", "任": "ren", "华": "hua",
    "翟": "zhai", "朴": "piao", "尉": "yu", "缪": "miao", "乐": "yue", "盖": "ge", "冼": "xian", "洗": "xian",
    "召": "shao", "黑": "he", "折": "she", "员": "yun", "秘": "bi", "种": "chong", "牟": "mu", "繁": "po",
    "葛": "ge", "宁": "ning", "燕": "yan", "那": "na", "覃": "qin", "谌": "chen", "晁": "chao", "逄": "pang",
}  # fmt: skip


@lru_cache(maxsize=4096)
def romanise(name: str) -> str:
    """`"曾小明"` → `"zeng xiao ming|zxm|ceng xiao ming|cxm"`: readings in full and as initials, joined by `|`.

    Latin letters stay as words; characters without a reading are dropped. At most 24 combinations.
    """
    from pypinyin import Style, pinyin  # a large dictionary: loaded with the first name, not with the server

    words: list[list[str]] = []
    for position, part in enumerate(_parts(name)):
        if part.isascii():
            words.append([part.lower()])
            continue
        found_here: list[list[str]] = pinyin(part, style=Style.NORMAL, heteronym=True, errors="ignore")
        readings = found_here[0] if found_here else []
        if position == 0 and part in SURNAMES:
            readings = [SURNAMES[part], *readings]
        if readings:
            words.append(list(dict.fromkeys(reading.replace("ü", "v") for reading in readings)))
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
