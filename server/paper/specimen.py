"""A report with nothing in it but its frame: sets the press in motion before the first real one arrives."""

from datetime import UTC, datetime

from consult.model import ReportStatus, Service, Urgency
from consult.patient import Sex
from server.paper.content import Diagnosis, Institution, Language, PatientBlock, QuestionAnswer, ReportContent


def blank_content(language: Language) -> ReportContent:
    """Every block of the page once, no person in it."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return ReportContent(
        number="0",
        version=1,
        status=ReportStatus.AMENDED,
        reason="0",
        requesting=Institution(name="0"),
        serving=Institution(name="0"),
        patient=PatientBlock(name="0", sex=Sex.UNKNOWN),
        service=Service.CLINICAL,
        urgency=Urgency.STAT,
        requested_at=at,
        issued_at=at,
        questions=(QuestionAnswer(number=1, question="0", answer="0"),),
        diagnoses=(Diagnosis(text="0"),),
        advice="0",
        critical=True,
        code="0000-0000",
        verify_url="https://localhost/verify/0000-0000",
        demo=True,
        language=language,
    )
