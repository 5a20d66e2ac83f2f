"""Every text the product shows, found in the sources, and the English of the catalogues."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jinja2
from babel.messages.pofile import read_po
from jinja2.ext import extract_from_ast

ROOT = Path(__file__).resolve().parent.parent.parent
HAN = re.compile(r"[\u3400-\u9fff]")
JS_CALL = re.compile(r"""(?<![\w$.])t\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`([^`$]*)`)""")
PLACEHOLDER = re.compile(r"\{(\w*)[^}]*\}")


def python_strings(path: Path) -> set[str]:
    """First arguments of `_("…")` and `N_("…")`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"_", "N_"} and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return found


def template_strings(path: Path) -> set[str]:
    """`_("…")` in expressions."""
    tree = jinja2.Environment().parse(path.read_text(encoding="utf-8"))
    found = set()
    for _line, _name, text in extract_from_ast(tree, ("_",)):
        # With placeholders the call has more arguments, and the text is the first of a tuple.
        first = text if isinstance(text, str) else next(iter(text or ()), None)
        if isinstance(first, str):
            found.add(first)
    return found


def script_strings(path: Path) -> set[str]:
    """`t('…')`."""
    found = set()
    for single, double, back in JS_CALL.findall(path.read_text(encoding="utf-8")):
        text = single or double or back
        found.add(re.sub(r"\\(['\"\\])", r"\1", text).replace("\\n", "\n"))
    return found


def sources() -> dict[str, set[str]]:
    """Strings with Han characters by file, relative to the project."""
    found: dict[str, set[str]] = {}
    for pattern, extract in (
        ("server/**/*.py", python_strings),
        ("server/templates/**/*.html", template_strings),
        ("static/js/**/*.js", script_strings),
        ("static/viewer/**/*.js", script_strings),
        ("static/ecg/**/*.js", script_strings),
    ):
        for path in sorted(ROOT.glob(pattern)):
            texts = {text for text in extract(path) if HAN.search(text)}
            if texts:
                found[path.relative_to(ROOT).as_posix()] = texts
    return found


def english() -> dict[str, list[tuple[str, str, bool]]]:
    """msgid → [(msgstr, catalogue file, is it for the browser)]."""
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for path in sorted((ROOT / "server/locale/en").glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, abort_invalid=True):
                if message.id and isinstance(message.id, str):
                    browser = any(str(place).startswith("static/") for place, _ in message.locations)
                    found.setdefault(message.id, []).append((str(message.string), path.name, browser))
    return found


def placeholders(text: str) -> set[str]:
    """Names in braces."""
    return set(PLACEHOLDER.findall(text))
