"""The report as text, to be pasted into a hospital's own system: the same labels and order as the page, no layout."""

from server.paper.content import ReportContent
from server.paper.words import CERTAINTY, LABELS, PART, SERVICE, SEX, STATUS, URGENCY, translator


def plain_text(content: ReportContent) -> str:
    """One value a line; what is empty is left out; key images by caption. Clinical text exactly as typed."""
    say = translator(content.language)
    colon = say(LABELS["colon"])
    out: list[str] = []

    def field(key: str, value: str) -> None:
        if value.strip():
            out.append(f"{say(LABELS[key])}{colon}{value}")

    def section(key: str, value: str) -> None:
        if value.strip():
            out.extend(("", f"【{say(LABELS[key])}】" if content.language == "zh" else f"[{say(LABELS[key])}]", value))

    if content.demo:
        out.append(say(LABELS["demo"]))
    out.append(say(LABELS["title"]))
    field("number", content.number)
    out.append(f"{say(STATUS[content.status])} · {say(LABELS['version']).format(n=content.version)}")
    field("reason_appended" if content.status == "appended" else "reason_amended", content.reason)
    field("requesting", f"{content.requesting.name} {content.requesting.department}".strip())
    field("serving", f"{content.serving.name} {content.serving.department}".strip())
    field("name", content.patient.name)
    field("sex", say(SEX[content.patient.sex]))
    field("age", content.patient.age)
    field("birth_date", content.patient.birth_date.isoformat() if content.patient.birth_date else "")
    field("document", content.patient.document_last_four)
    field("card", content.patient.card)
    field("service", say(SERVICE[content.service]))
    field("urgency", say(URGENCY[content.urgency]))
    field("doctor", content.clinic_doctor)
    field("requested_at", content.requested_at.strftime("%Y-%m-%d %H:%M"))
    field("issued_at", content.issued_at.strftime("%Y-%m-%d %H:%M"))
    if content.critical:
        out.extend(("", say(LABELS["critical"])))
    section(
        "questions",
        "\n".join(
            f"{say(LABELS['question']).format(n=item.number)}{colon}{item.question}\n"
            f"{say(LABELS['answer'])}{colon}{item.answer}"
            for item in content.questions
        ),
    )
    section("materials", content.materials)
    section("findings", content.findings)
    section(
        "diagnoses",
        "\n".join(
            " ".join(
                part
                for part in (
                    item.text,
                    item.icd10,
                    say(CERTAINTY[item.certainty]) if item.certainty in CERTAINTY else item.certainty,
                )
                if part
            )
            for item in content.diagnoses
        ),
    )
    section("advice", content.advice)
    section("further_tests", content.further_tests)
    section("referral_advice", content.referral_advice)
    section("follow_up", content.follow_up.isoformat() if content.follow_up else "")
    section("limits", content.limits)
    section(
        "key_images",
        "\n".join(
            f"{say(LABELS['image']).format(n=n)} {image.caption}" for n, image in enumerate(content.key_images, start=1)
        ),
    )
    section(
        "signatures",
        "\n".join(
            " ".join(
                part
                for part in (
                    f"{say(PART[line.part])}{colon}{line.name}",
                    line.title,
                    line.organisation,
                    f"{say(LABELS['licence'])} {line.licence}" if line.licence else "",
                )
                if part
            )
            for line in content.signers
        ),
    )
    out.append("")
    field("code", content.code)
    field("verify", content.verify_url)
    return "\n".join(out) + "\n"
