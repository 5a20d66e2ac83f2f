"""What the database itself refuses, whoever asks."""

import traceback

import pytest
from sqlalchemy import delete, insert, text, update

from consult.errors import Conflict, NotFound
from server.storage.errors import Broken, Refused, StorageUnavailable
from server.storage.tables import consultation, report_pdf, report_version, signature
from server.storage.tables_more import INSERT_ONLY, audit, event, feedback
from server.storage.tables_recordings import recording_event
from server.storage.unit import verify_audit
from tests.storage import samples as s

TABLES = {t.name: t for t in (report_version, report_pdf, signature, event, audit, feedback, recording_event)}


def fill(uow):
    s.with_signed(uow)
    uow.events.append(s.event())
    uow.feedback.add(s.feedback())
    uow.audit.append(s.audit())
    s.with_recording(uow)


def test_every_insert_only_table_is_tried_here():
    assert set(INSERT_ONLY) == set(TABLES)


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_signed_reports_events_and_audit_cannot_be_changed(sql, name, verb):
    sql.run(fill)
    table = TABLES[name]
    column = next(c for c in table.c if not c.primary_key)
    change = delete(table) if verb == "delete" else update(table).values({column.name: column})

    with pytest.raises(Refused, match="insert-only"):
        sql.run(lambda u: u.link.execute(change))


def test_postgresql_refuses_to_truncate_them_too(sql):
    if not sql.work.database.postgres:
        pytest.skip("SQLite has no TRUNCATE")
    for name in INSERT_ONLY:
        with pytest.raises(Refused, match="insert-only"):
            sql.run(lambda u, name=name: u.link.execute(text(f"TRUNCATE {name} CASCADE")))


@pytest.mark.parametrize("column", ["state", "service", "urgency", "mode"])
def test_a_word_the_code_does_not_know_is_refused_by_the_database(sql, column):
    sql.run(s.with_consultation)
    with pytest.raises(Refused, match=f"ck_consultation_{column}"):
        sql.run(lambda u: u.link.execute(text(f"UPDATE consultation SET {column} = 'banana'")))


def test_a_reference_to_nothing_is_not_found(sql):
    with pytest.raises(NotFound):
        sql.run(lambda u: u.consultations.add(s.consultation(patient="nobody")))


def test_a_conflict_leaves_the_unit_usable(sql):
    def clash(uow):
        s.with_consultation(uow)
        with pytest.raises(Conflict):
            uow.consultations.add(s.consultation())
        s.with_consultation(uow, "c2")

    sql.run(clash)
    assert sql.read(lambda u: u.consultations.get("c2")).id == "c2"


def test_a_conflict_while_saving_leaves_the_unit_usable(sql):
    from dataclasses import replace

    def clash(uow):
        taken = replace(uow.people.staff("s-doctor"), login="expert")
        with pytest.raises(Conflict):
            uow.people.save_staff(taken)
        s.with_consultation(uow)

    sql.run(clash)
    assert sql.read(lambda u: u.consultations.get("c1")).version == 0
    assert sql.read(lambda u: u.people.staff("s-doctor")).login == "doctor"


def test_a_swallowed_database_error_never_commits(sql):
    def swallow(uow):
        s.with_consultation(uow)
        with pytest.raises(NotFound):
            uow.consultations.add(s.consultation("c2", patient="nobody"))

    with pytest.raises(Broken):
        sql.run(swallow)
    with pytest.raises(NotFound):
        sql.read(lambda u: u.consultations.get("c1"))


def test_a_failed_unit_leaves_nothing_behind(sql):
    def fail(uow):
        s.with_consultation(uow)
        uow.audit.append(s.audit())
        uow.consultations.next_number(s.T0.date())
        raise LookupError

    with pytest.raises(LookupError):
        sql.run(fail)
    assert sql.read(lambda u: list(u.consultations.of_patient(s.PATIENT))) == []
    assert sql.read(lambda u: list(u.audit.rows())) == []
    assert sql.run(lambda u: u.consultations.next_number(s.T0.date())) == 1


def test_a_reader_cannot_write(sql):
    with pytest.raises((Refused, StorageUnavailable)):
        sql.read(s.with_consultation)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE patient SET sex = 'banana' WHERE name = '张小明'",
        "UPDATE patient SET name = NULL WHERE name = '张小明'",
        "UPDATE patient SET created_at = '张小明'",
        "UPDATE patient SET id = 'p-li' WHERE name = '张小明'",
        "UPDATE patient SET mother = '张小明'",
    ],
)
def test_no_error_text_holds_a_patients_name(sql, statement):
    """Whatever is logged of an error, with its causes, is free of values."""
    if "created_at" in statement and not sql.work.database.postgres:
        pytest.skip("SQLite does not look at types")
    with pytest.raises((Refused, Conflict, NotFound)) as caught:
        sql.run(lambda u: u.link.execute(text(statement)))
    assert "张小明" not in "".join(traceback.format_exception(caught.value))


def disarm(uow):
    if uow.link.postgres:
        uow.link.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
    else:
        uow.link.execute(text("DROP TRIGGER audit_no_update"))
        uow.link.execute(text("DROP TRIGGER audit_no_delete"))


def test_a_whole_audit_chain_is_whole(sql):
    assert sql.read(verify_audit) is None
    sql.run(lambda u: [u.audit.append(s.audit(f"a{n}", detail={"n": n})) for n in range(7)])
    assert sql.read(verify_audit) is None


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (update(audit).where(audit.c.n == 4).values(action="else"), 4),
        (update(audit).where(audit.c.n == 4).values(staff=None), 4),
        (update(audit).where(audit.c.n == 4).values(detail={"n": 9}), 4),
        (update(audit).where(audit.c.n == 4).values(at=s.after(seconds=1)), 4),
        (update(audit).where(audit.c.n == 1).values(outcome="denied"), 1),
        (delete(audit).where(audit.c.n == 1), 1),
        (delete(audit).where(audit.c.n == 5), 5),
    ],
)
def test_a_changed_or_missing_audit_row_is_found(sql, change, broken):
    sql.run(lambda u: [u.audit.append(s.audit(f"a{n}", detail={"n": n})) for n in range(7)])
    sql.run(disarm)
    sql.run(lambda u: u.link.execute(change))
    assert sql.read(verify_audit) == broken


def test_a_row_slipped_into_the_audit_is_found(sql):
    row = sql.run(lambda u: [u.audit.append(s.audit(f"a{n}")) for n in range(3)])[1]
    sql.run(disarm)
    values = {name: getattr(row, name) for name in audit.c.keys()} | {"n": 4}  # noqa: SIM118
    sql.run(lambda u: u.link.execute(insert(audit).values(values)))
    assert sql.read(verify_audit) == 4


def test_the_consultation_table_itself_may_change(sql):
    """So that the refusals above are the triggers' and not everybody's."""
    sql.run(s.with_consultation)
    sql.run(lambda u: u.link.execute(update(consultation).values(target_specialty="x")))
    assert sql.read(lambda u: u.consultations.get("c1")).target_specialty == "x"
