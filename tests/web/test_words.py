"""The words of the product: complete, translated, each with an icon that exists; the banner tells who it is."""

from __future__ import annotations

import ast
import re
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from consult import model as m
from consult import patient as p
from consult.people import LinkKind, OrganisationKind, Role, Tier
from server import labels
from server.auth.scopes import PURPOSES
from server.i18n import LANG, english
from server.pages import NOW, environment
from server.pages.assets import Assets

ROOT = Path(__file__).resolve().parents[2]
TABLES = [
    (labels.SERVICE, m.Service), (labels.SERVICE_SHORT, m.Service), (labels.SERVICE_ICON, m.Service),
    (labels.MODE, m.Mode), (labels.PARTICIPATION, m.Participation), (labels.ADDRESSING, m.Addressing),
    (labels.URGENCY, m.Urgency), (labels.URGENCY_ICON, m.Urgency), (labels.STATE, m.State),
    (labels.STATE_ICON, m.State), (labels.STATE_TONE, m.State), (labels.ROLE, Role), (labels.PART, m.Part),
    (labels.SEX, p.Sex), (labels.IDENTIFIER, p.IdentifierSystem), (labels.OFFER, m.OfferOutcome),
    (labels.SEAT, m.SeatState), (labels.CONSENT, m.ConsentMode), (labels.REPORT, m.ReportStatus),
    (labels.MATCH, m.MatchMethod), (labels.TIER, Tier), (labels.KIND, OrganisationKind), (labels.LINK, LinkKind),
    (labels.TABS, Role),
]  # fmt: skip
HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture
def template():
    NOW.set(datetime(2026, 11, 22, 6, 0, tzinfo=UTC))
    return environment(Assets(), demo=False, tz=ZoneInfo("Asia/Shanghai"))


@pytest.mark.parametrize(("table", "kind"), TABLES)
def test_every_member_of_every_enumeration_has_its_word(table, kind):
    assert set(table) == set(kind)


@pytest.mark.parametrize(("table", "kind"), TABLES)
def test_every_word_has_its_english(table, kind):
    words = [label for tabs in table.values() for _key, label, _href in tabs] if kind is Role and table is labels.TABS else table.values()
    missing = [word for word in words if HAN.search(word) and word not in english().texts]
    assert missing == []


def audited_actions() -> set[str]:
    """Every action code the sources hand to the audit: directly, or by name to what audits for them."""
    kinds = r"(consultation|consent|document|order|patient|report|room|study|staff|membership|organisation|feedback|token|archive|recording)"
    no_actions = {".html", ".typ", ".id", ".pdf", ".bin", ".xml", ".webm"}
    found = {f"study.{action}" for action in PURPOSES} - {"study.pixels"}        # pixels are opened: study.open
    for path in ROOT.glob("server/**/*.py"):
        if path.name == "audit_words.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(rf"{kinds}\.[a-z_]+", node.value):
                found |= {node.value} if Path(node.value).suffix not in no_actions else set()
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "audit" and len(node.args) > 2:
                found |= {node.args[2].value} if isinstance(node.args[2], ast.Constant) else set()
    return found


def test_every_action_of_the_audit_has_its_words_and_no_word_is_left_over():
    assert audited_actions() == set(labels.ACTION)
    assert [word for word in labels.ACTION.values() if word not in english().texts] == []
    assert len(set(labels.ACTION.values())) == len(labels.ACTION)


def test_two_states_never_look_and_read_alike():
    faces = [(labels.STATE[state], labels.STATE_ICON[state]) for state in m.State]
    assert len(set(faces)) == len(faces)


def test_every_icon_that_is_named_is_in_the_sprite():
    listed = {
        line.split("#")[0].strip() for line in (ROOT / "static" / "icons.txt").read_text().splitlines()
    } - {""}
    named = {*labels.SERVICE_ICON.values(), *labels.STATE_ICON.values(), *labels.URGENCY_ICON.values()}
    sources = [*ROOT.glob("server/templates/**/*.html"), *ROOT.glob("static/js/**/*.js")]
    for path in sources:
        named |= set(re.findall(r"\bicon\(\s*'([a-z0-9-]+)'", path.read_text(encoding="utf-8")))
    assert named - listed == set()


@pytest.mark.parametrize(
    ("born", "band"), [(date(1968, 3, 12), "50–59"), (date(2026, 8, 1), "0–9"), (date(1966, 11, 22), "60–69"), (None, "")]
)
def test_a_hidden_age_is_told_by_its_decade(born, band):
    patient = p.Patient(
        id=p.PatientId("x"), name="张三", sex=p.Sex.MALE, birth_date=born, registered_by="o", created_at=datetime.now(UTC)
    )
    assert labels.age_band(patient, date(2026, 11, 22)) == band


def test_the_banner_always_tells_name_sex_age_and_the_allergy_and_escapes_them(template):
    patient = p.Patient(
        id=p.PatientId("x"), name="张三<script>", sex=p.Sex.MALE, birth_date=date(2026, 8, 10), allergies="青霉素",
        registered_by="o", created_at=datetime.now(UTC),
    )
    banner = {"patient": patient, "document": "1234", "card": "", "organisation": "九堡中心"}
    html = template.from_string(
        '{% from "_macros.html" import patient_banner with context %}{{ patient_banner(b) }}'
    ).render(b=banner)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    for part in ("男", "3 月 12 天", "2026-08-10", "1234", "青霉素", "九堡中心"):
        assert part in text
    assert "<script>" not in html
    token = LANG.set("en")
    try:
        html = template.from_string(
            '{% from "_macros.html" import patient_banner with context %}{{ patient_banner(b) }}'
        ).render(b=banner | {"organisation": "x", "patient": patient})
    finally:
        LANG.reset(token)
    assert "3 mo 12 d" in html
