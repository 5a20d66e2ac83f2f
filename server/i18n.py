"""Two languages: the source is Simplified Chinese, English is merged from server/locale/en/*.po at start.

`_("…")` translates into the language of the present request, `N_("…")` only marks a string for later. Placeholders
are `{name}`, filled with keyword arguments. Nothing is compiled: the .po files are read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import cache
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Lang = Literal["zh", "en"]
LANGUAGES: tuple[Lang, ...] = ("zh", "en")
LOCALE = Path(__file__).parent / "locale"
LANG: ContextVar[Lang] = ContextVar("lang", default="zh")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """English by Chinese; `browser` holds the entries that files under static/ use."""

    texts: Mapping[str, str] = field(default_factory=dict)
    browser: Mapping[str, str] = field(default_factory=dict)


def read_catalogue(folder: Path) -> Catalogue:
    """All .po files of one language, merged in order of name. A msgid with two different texts is an error."""
    from babel.messages.pofile import read_po

    texts: dict[str, str] = {}
    browser: dict[str, str] = {}
    for path in sorted(folder.glob("*.po")):
        with path.open("rb") as file:
            catalogue = read_po(file, abort_invalid=True)
        for message in catalogue:
            if not message.id or not isinstance(message.id, str) or not isinstance(message.string, str):
                continue
            if not message.string:
                continue
            texts.setdefault(message.id, message.string)
            if any(str(location).startswith("static/") for location, _ in message.locations):
                browser[message.id] = texts[message.id]
    return Catalogue(texts=texts, browser=browser)


@cache
def english() -> Catalogue:
    """The English catalogue, read at the first use."""
    return read_catalogue(LOCALE / "en")


def translate(text: str, lang: str, /, **values: Any) -> str:
    """`text` in `lang`, its placeholders filled. An untranslated string stays Chinese (a test finds it)."""
    if lang == "en":
        text = english().texts.get(text, text)
    return text.format(**values) if values else text


def _(text: str, /, **values: Any) -> str:
    """`text` in the language of the present request."""
    return translate(text, LANG.get(), **values)


def N_(text: str) -> str:  # noqa: N802 - gettext's own name
    """Marks a string that is translated where it is shown."""
    return text


def choose_language(*, query: str | None, cookie: str | None, accept: str, default: Lang) -> Lang:
    """By `?lang=`, then the cookie, then Accept-Language (RFC 9110 §12.5.4), then the setting."""
    for wish in (query, cookie):
        if wish in LANGUAGES:
            return "en" if wish == "en" else "zh"
    ranked: list[tuple[float, int, Lang]] = []
    for place, part in enumerate(accept[:500].split(",")):
        tag, _sep, weight = part.partition(";q=")
        tag = tag.strip().lower()
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        if tag.startswith("zh"):
            ranked.append((-quality, place, "zh"))
        elif tag.startswith("en"):
            ranked.append((-quality, place, "en"))
    return min(ranked)[2] if ranked else default


@cache
def zone(name: str) -> tzinfo:
    """The time zone; a machine without zone data still knows China's own (+08:00, no summer time since 1991)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        if name == "Asia/Shanghai":
            return timezone(timedelta(hours=8), name)
        raise


def local_text(moment: datetime | None, tz: tzinfo) -> str:
    """`2026-11-22 14:05` on the wall clock of `tz`; empty for None."""
    return moment.astimezone(tz).strftime("%Y-%m-%d %H:%M") if moment else ""


def date_text(day: date | datetime | None, tz: tzinfo) -> str:
    """`2026-11-22`; a moment is put on the wall clock of `tz` first."""
    if isinstance(day, datetime):
        day = day.astimezone(tz).date()
    return day.isoformat() if day else ""


def ago(moment: datetime | None, now: datetime, lang: str) -> str:
    """How long ago, as one says it: 刚刚, 3 分钟前, 2 小时前, 5 天前; the future as 还有."""
    if moment is None:
        return ""
    seconds = int((now - moment).total_seconds())
    if abs(seconds) < 60:
        return translate(N_("刚刚"), lang)
    minutes = abs(seconds) // 60
    if minutes < 60:
        count, past, future = minutes, N_("{n} 分钟前"), N_("还有 {n} 分钟")
    elif minutes < 48 * 60:
        count, past, future = minutes // 60, N_("{n} 小时前"), N_("还有 {n} 小时")
    else:
        count, past, future = minutes // 1440, N_("{n} 天前"), N_("还有 {n} 天")
    return translate(past if seconds > 0 else future, lang, n=count)


def about_age(birth: date | None, on: date | datetime, lang: str = "zh") -> str:
    """An estimate: 约 60 岁, 约 5 月, 约 3 天. One unit: a guess is not that exact."""
    text = age(birth, on, lang, rough=True)
    return translate(N_("约 {age}"), lang, age=text) if text else ""


def age(birth: date | None, on: date | datetime, lang: str = "zh", *, rough: bool = False) -> str:
    """As clinicians say it: 56 岁; under 3 years 1 岁 4 月; under 1 year 3 月 12 天; under 1 month 12 天. `rough`: the
    first unit alone.
    """
    if birth is None:
        return ""
    day = on.date() if isinstance(on, datetime) else on
    if day < birth:
        return ""
    months = (day.year - birth.year) * 12 + day.month - birth.month
    if day.day < birth.day:
        months -= 1
    if months >= (12 if rough else 36):
        return translate(N_("{n} 岁"), lang, n=months // 12)
    if months >= 12:
        return translate(N_("{n} 岁 {m} 月"), lang, n=months // 12, m=months % 12)
    days = (day - month_later(birth, months)).days
    if months and rough:
        return translate(N_("{m} 月"), lang, m=months)
    if months:
        return translate(N_("{m} 月 {d} 天"), lang, m=months, d=days)
    return translate(N_("{d} 天"), lang, d=days)


def month_later(day: date, months: int) -> date:
    """The same day of the month `months` later; the last day where the month is shorter."""
    year, month = divmod(day.month - 1 + months, 12)
    first = date(day.year + year, month + 1, 1)
    following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return min(first + timedelta(days=day.day - 1), following - timedelta(days=1))
