"""HTML pages. `render` is the only way a template is filled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import date, datetime, tzinfo
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web
from jinja2.runtime import Macro

from server import i18n, keys, labels
from server.api.common import ENCODER
from server.auth.people import Me, load_me
from server.pages.assets import Assets

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


def environment(assets: Assets, *, demo: bool, tz: tzinfo) -> jinja2.Environment:
    """The template environment: autoescape on, undefined names fail loudly, nothing compiled on disk."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.globals.update(static=assets.url, icon=assets.icon, demo=demo, _=i18n._, once=once(assets))
    labels.install(templates)
    # Page data may hold times and enumerations, written as the JSON endpoints write them.
    templates.policies["json.dumps_function"] = lambda value, **_options: ENCODER.encode(value).decode()
    templates.filters.update(filters(tz))
    return templates


def once(assets: Assets) -> Callable[..., str]:
    """`once(macro, *values)`: what a macro makes of a few words, kept per language; a list repeats the same badges in
    every row. Only for macros that see nothing but their arguments, all of them members of enumerations or flags.
    """
    made: dict[tuple[object, ...], str] = {}

    def kept(macro: Macro, *values: object) -> str:
        key = (macro.name, values, i18n.LANG.get(), assets.version("dist/icons.svg"))
        text = made.get(key)
        if text is None:
            text = made[key] = macro(*values)
        return text

    return kept


NOW: ContextVar[datetime] = ContextVar("now")
"""The moment of the present page, for the filters; macros imported without context see it too."""


def filters(tz: tzinfo) -> dict[str, Callable[..., str]]:
    """dt, date, ago, age, aged: in the language of the request, on the wall clock of `tz`."""

    def dt(moment: datetime | None) -> str:
        return i18n.local_text(moment, tz)

    def day(value: date | datetime | None) -> str:
        return i18n.date_text(value, tz)

    def ago(moment: datetime | None) -> str:
        return i18n.ago(moment, NOW.get(), i18n.LANG.get())

    def age(birth: date | None, on: date | datetime | None = None) -> str:
        return i18n.age(birth, on or NOW.get().astimezone(tz), i18n.LANG.get())

    def aged(person: Any) -> str:
        """The age of whatever has a birth date that may be an estimate: a patient, a row, the JSON of either."""
        get = person.get if isinstance(person, Mapping) else lambda name: getattr(person, name)
        today = NOW.get().astimezone(tz)
        say = i18n.about_age if get("birth_estimated") else i18n.age
        return say(get("birth_date"), today, i18n.LANG.get())

    return {"dt": dt, "date": day, "ago": ago, "age": age, "aged": aged}


async def render(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """The page in the language of the request. Besides `context` a template sees: _, static, icon, labels, me, lang,
    demo, csrf, now, page, and the filters dt, date, ago, age, aged.
    """
    app = request.app
    login = request.get(keys.LOGIN)
    me: Me | None = None
    if login is not None:
        me = await app[keys.WORK].read(load_me, login.actor)
    now = app[keys.CLOCK]()
    NOW.set(now)
    values: dict[str, Any] = {
        "me": me,
        "lang": i18n.LANG.get(),
        "csrf": login.csrf if login else "",
        "now": now,
        "page": "",
        "banner": None,
        "listen_from": request[keys.HEARD],
        "clock_wrong": bool(app[keys.CLOCK_WATCH].behind(now)),
    }
    html = app[keys.TEMPLATES].get_template(template).render(values | context)
    return web.Response(
        text=html, status=status, content_type="text/html", charset="utf-8", headers={"Cache-Control": "no-store"}
    )

