"""Who imports whom, where SQL stands, and whose names the packages are."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# A statement, not a word in a sentence: the keyword with what must follow it.
SQL = re.compile(
    r"\b(SELECT\s+.+\s+FROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX|TRIGGER|VIRTUAL)|PRAGMA\s+\w+)\b",
    re.DOTALL,
)
SQL_ROOMS = ("dicom/index/", "server/storage/")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """What of a module's tree the tests below ask about; read once for all of them."""
    kinds = (ast.Import, ast.ImportFrom, ast.Constant)
    return tuple(x for x in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(x, kinds))


@functools.cache
def imported(path: Path) -> set[str]:
    """Top-level names of everything a module imports, at its top or inside its functions."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_import_contracts_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_the_clinical_heart_needs_the_standard_library_alone():
    for path in modules("consult"):
        foreign = {name for name in imported(path) if name not in sys.stdlib_module_names} - {"consult"}
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize(
    ("library", "package"),
    [("aiohttp", "server"), ("jinja2", "server"), ("sqlalchemy", "server/storage"), ("pydicom", "dicom"),
     ("pynetdicom", "dicom"), ("aiortc", "server/media")],
)
def test_a_library_stays_in_its_room(library, package):
    allowed = {("pydicom", "server/paper"), ("pydicom", "server/demo"), ("pydicom", "server/filing")}
    for top in ("consult", "dicom", "server"):
        for path in modules(top):
            place = path.relative_to(ROOT).as_posix()
            if library not in imported(path) or place.startswith(package):
                continue
            assert any(library == name and place.startswith(room) for name, room in allowed), f"{place} imports {library}"


def test_sql_stands_in_its_two_rooms():
    for top in ("consult", "dicom", "server"):
        for path in modules(top):
            place = path.relative_to(ROOT).as_posix()
            if place.startswith(SQL_ROOMS):
                continue
            for node in nodes(path):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert not SQL.search(node.value), f"{place}:{node.lineno} holds SQL"


def test_the_three_packages_are_ours_alone():
    owners = packages_distributions()
    for name in ("server", "dicom", "consult"):
        assert set(owners.get(name, ["huizhen"])) == {"huizhen"}, owners[name]


def test_lock_files_name_no_host():
    from tests.locks import wrong_lines

    assert wrong_lines() == []
