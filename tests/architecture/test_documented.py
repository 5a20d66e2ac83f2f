"""What people can set, call or meet is written down: settings, commands, metrics, errors, strings."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

from server.problems import TABLE, problem
from server.settings_reading import described, load_settings
from tests.architecture import strings

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"


def shown(value: object) -> str:
    """A default as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return f'"{value}"'


def test_every_setting_stands_in_the_sample_and_the_page_with_its_default_and_meaning():
    sample = (ROOT / "deploy/huizhen.toml").read_text(encoding="utf-8")
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    for name, meaning, default in described():
        assert meaning, f"{name} has no description"
        leaf = name.rpartition(".")[2]
        assert f"# {meaning}\n#{leaf} = {shown(default)}\n" in sample, f"deploy/huizhen.toml: {name}"
        assert f"| `{name}` | `{shown(default)}` | {meaning} |" in page, f"docs/settings.md: {name}"
    rows = re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(name for name, _, _ in described())


def test_the_sample_with_every_comment_taken_away_is_the_default(tmp_path):
    sample = (ROOT / "deploy/huizhen.toml").read_text(encoding="utf-8")
    live = re.sub(r"^#(\w+ = )", r"\1", sample, flags=re.MULTILINE)
    tomllib.loads(live)
    path = tmp_path / "huizhen.toml"
    path.write_text(live, encoding="utf-8")
    assert load_settings(path, environment={}) == load_settings(environment={})


def commands(parser: argparse.ArgumentParser, before: str = "") -> list[str]:
    """`serve`, `user add`, … and their options."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                found += [f"{before}{name}", *commands(inner, f"{before}{name} ")]
        else:
            found += [option for option in action.option_strings if option.startswith("--") and option != "--help"]
    return found


def test_every_command_option_and_metric_stands_in_the_operating_guide():
    from server.cli import parser
    from server.metrics import Metrics

    page = (DOCS / "operating.md").read_text(encoding="utf-8")
    for name in {*commands(parser()), *Metrics().names()}:
        assert f"`{name}" in page or f"huizhen {name}" in page, f"docs/operating.md: {name}"


def error_codes() -> dict[str, str]:
    """code → class of every exception of ours that carries a public code."""
    found = {}
    for package in ("consult", "dicom", "server"):
        module = importlib.import_module(package)
        for info in pkgutil.walk_packages(module.__path__, f"{package}."):
            if info.name.endswith(("__main__", "_worker")) or ".workers." in info.name:
                continue
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == info.name:
                    code = getattr(value, "code", None)
                    if isinstance(code, str):
                        found[code] = f"{info.name}.{value.__name__}"
    return found


def test_every_error_class_has_its_status_and_sentence():
    missing = {code: where for code, where in error_codes().items() if code not in TABLE}
    assert not missing


def test_every_code_is_explained_and_every_explanation_has_a_code():
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", page, re.MULTILINE))
    assert rows == {code: str(row.status) for code, row in TABLE.items()}


@pytest.mark.parametrize("code", sorted(TABLE))
def test_a_problem_can_be_told_in_both_languages(code):
    chinese = problem(code, lang="zh", request_id="x")
    english = problem(code, lang="en", request_id="x")
    assert strings.HAN.search(chinese["title"])
    assert not strings.HAN.search(english["title"] + english["detail"])


def test_every_string_is_translated_once_and_keeps_its_placeholders():
    english = strings.english()
    wrong = []
    for place, texts in strings.sources().items():
        for text in sorted(texts):
            entries = english.get(text, [])
            if not any(entry[0] for entry in entries):
                wrong.append(f"{place}: no English for {text!r}")
            if place.startswith("static/") and entries and not any(browser for _, _, browser in entries):
                wrong.append(f"{place}: {text!r} lacks a `#: static/…` comment in {entries[0][1]}")
    for text, entries in english.items():
        for translated, file, _browser in entries:
            if translated and strings.placeholders(text) != strings.placeholders(translated):
                wrong.append(f"{file}: placeholders of {text!r}")
            if strings.HAN.search(translated):
                wrong.append(f"{file}: Han characters in the English of {text!r}")
    assert not wrong, "\n".join(wrong)


def test_templates_and_scripts_hold_no_text_outside_the_catalogue():
    """A Chinese sentence that is not marked would show up in the English pages."""
    wrong = []
    for path in sorted((ROOT / "server/templates").rglob("*.html")):
        text = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}|<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        wrong += [f"{path.name}: {line.strip()}" for line in text.splitlines() if strings.HAN.search(line)]
    assert not wrong, "\n".join(wrong)


def test_every_icon_that_is_used_is_in_the_sprite():
    listed = {
        line.strip() for line in (ROOT / "static/icons.txt").read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    }
    wrong = []
    for pattern in ("server/templates/**/*.html", "static/js/**/*.js"):
        for path in sorted(ROOT.glob(pattern)):
            for name in re.findall(r"\bicon\('([a-z0-9-]+)'", path.read_text(encoding="utf-8")):
                if name not in listed:
                    wrong.append(f"{path.name}: {name}")
    assert not wrong


def test_every_static_file_a_page_names_exists():
    from server.pages.assets import STATIC, WORDS, served

    wrong = []
    for path in sorted((ROOT / "server/templates").rglob("*.html")):
        for name in re.findall(r"static\('([^']+)'\)", path.read_text(encoding="utf-8")):
            if not served(name) or not ((STATIC / name).is_file() or name == WORDS or name.startswith("dist/")):
                wrong.append(f"{path.name}: {name}")
    assert not wrong
