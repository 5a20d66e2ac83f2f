"""consult.ports.Meetings, Reports, Studies, Events and Audit on the fakes, SQLite and PostgreSQL."""

from dataclasses import replace

import pytest

from consult import model as m
from consult.errors import Conflict, NotFound, Stale
from consult.line_sums import SeatLine
from consult.recording_state import Moment
from tests.storage import samples as s


def session(id="q1", n=1, **more):
    return m.Session(**({"id": id, "consultation": "c1", "n": n, "opened_by": s.DOCTOR, "opened_at": s.T0} | more))


def seat(id="t1", membership=s.DOCTOR, **more):
    values = {
        "session": "q1", "membership": membership, "part": m.Part.REFERRING, "state": m.SeatState.LOBBY, "since": s.T0
    } | more
    return m.Seat(id=id, **values)


def with_session(uow):
    s.with_consultation(uow)
    uow.meetings.add_session(session())


def test_one_session_runs_at_a_time_and_ended_ones_stay(store):
    store.run(with_session)
    with pytest.raises(Conflict):
        store.run(lambda u: u.meetings.add_session(session("q2", 2)))
    assert store.read(lambda u: u.meetings.running("c1")) == session()
    ended = replace(session(), ended_by=s.EXPERT, ended_at=s.after(hours=1), locked=True)
    stored = store.run(lambda u: u.meetings.save_session(ended))
    assert store.read(lambda u: u.meetings.session("q1")) == stored == replace(ended, version=1)
    assert store.read(lambda u: u.meetings.running("c1")) is None
    store.run(lambda u: u.meetings.add_session(session("q2", 2, kind="telephone")))
    assert [x.id for x in store.read(lambda u: u.meetings.sessions("c1"))] == ["q1", "q2"]
    with pytest.raises(Stale):
        store.run(lambda u: u.meetings.save_session(ended))
    with pytest.raises(NotFound):
        store.read(lambda u: u.meetings.session("q9"))


def test_what_was_counted_of_a_seats_line_is_replaced_by_the_later_sum(store):
    store.run(with_session)
    store.run(lambda u: u.meetings.add_seat(seat()))
    assert store.read(lambda u: u.meetings.line("t1")) is None
    first = SeatLine(seat="t1", session="q1", setup_ms=900, video_ms=30_000, rtt=(1, 2), received=2**40)
    store.run(lambda u: u.meetings.put_line(first))
    assert store.read(lambda u: u.meetings.line("t1")) == first
    whole = first.plus(first)
    store.run(lambda u: u.meetings.put_line(whole))
    assert list(store.read(lambda u: u.meetings.lines("q1"))) == [whole]
    assert list(store.read(lambda u: u.meetings.lines("q2"))) == []


def test_a_membership_has_one_seat_in_a_session(store):
    store.run(with_session)
    mine = seat(precheck={"camera": True, "path": "host"})
    store.run(lambda u: u.meetings.add_seat(mine))
    with pytest.raises(Conflict):
        store.run(lambda u: u.meetings.add_seat(seat("t2")))
    store.run(lambda u: u.meetings.add_seat(seat("t3", s.EXPERT, part=m.Part.EXPERT, since=s.after(minutes=1))))
    assert store.read(lambda u: u.meetings.seat_of("q1", s.DOCTOR)) == mine
    assert store.read(lambda u: u.meetings.seat_of("q1", s.SECOND)) is None
    assert [x.id for x in store.read(lambda u: u.meetings.seats("q1"))] == ["t1", "t3"]
    assert [x.id for x in store.read(lambda u: u.meetings.running_for(s.EXPERT))] == ["q1"]
    assert list(store.read(lambda u: u.meetings.running_for(s.SECOND))) == []
    inside = replace(mine, state=m.SeatState.IN)
    assert store.run(lambda u: u.meetings.save_seat(inside)) == replace(inside, version=1)
    with pytest.raises(Stale):
        store.run(lambda u: u.meetings.save_seat(inside))


def test_attendance_is_closed_once(store):
    store.run(with_session)
    store.run(lambda u: u.meetings.add_seat(seat()))
    store.run(lambda u: u.meetings.leave("t1", at=s.T0, reason="left"))
    store.run(lambda u: u.meetings.enter(m.Attendance(seat="t1", entered_at=s.T0)))
    store.run(lambda u: u.meetings.leave("t1", at=s.after(minutes=1), reason="lost"))
    store.run(lambda u: u.meetings.leave("t1", at=s.after(minutes=9), reason="left"))
    store.run(lambda u: u.meetings.enter(m.Attendance(seat="t1", entered_at=s.after(minutes=2))))
    assert list(store.read(lambda u: u.meetings.attendances("q1"))) == [
        m.Attendance(seat="t1", entered_at=s.T0, left_at=s.after(minutes=1), reason="lost"),
        m.Attendance(seat="t1", entered_at=s.after(minutes=2)),
    ]


def test_a_resent_message_is_stored_once(store):
    store.run(with_session)
    line = m.Message(
        id="a", consultation="c1", session="q1", membership=s.DOCTOR, client_id="k", text="您好", at=s.T0
    )
    assert store.run(lambda u: u.meetings.add_message(line)) == line
    assert store.run(lambda u: u.meetings.add_message(replace(line, id="b", text="again"))) == line
    later = replace(line, id="c", client_id="l", session=None, at=s.after(minutes=1))
    store.run(lambda u: u.meetings.add_message(later))
    assert list(store.read(lambda u: u.meetings.messages("c1"))) == [line, later]
    assert list(store.read(lambda u: u.meetings.messages("c1", after=s.T0))) == [later]


def test_a_report_draft_is_versioned(store):
    store.run(s.with_report)
    assert store.read(lambda u: u.reports.get("r1")) == s.report()
    longer = replace(s.report(), content={"findings": "更多", "answers": {"1": "是"}})
    stored = store.run(lambda u: u.reports.save(longer))
    assert list(store.read(lambda u: u.reports.of("c1"))) == [stored] == [replace(longer, version=1)]
    with pytest.raises(Stale):
        store.run(lambda u: u.reports.save(longer))
    with pytest.raises(NotFound):
        store.read(lambda u: u.reports.get("r9"))


def test_a_signed_version_keeps_its_pdf_and_signatures(store):
    store.run(s.with_report)
    both = [s.signature(), s.signature(staff="s-second", membership=s.SECOND, part=m.Part.REVIEWER)]
    pdf = bytes(range(256)) * 100
    store.run(lambda u: u.reports.add_version(s.version(), pdf, both))
    amended = s.version("v2", 2, status=m.ReportStatus.AMENDED, reason="补充", replaces="v1")
    store.run(lambda u: u.reports.add_version(amended, b"2", [s.signature("v2")]))
    assert store.read(lambda u: u.reports.version("v1")) == s.version()
    assert store.read(lambda u: u.reports.pdf("v1")) == pdf
    assert set(store.read(lambda u: u.reports.signatures("v1"))) == set(both)
    assert [x.id for x in store.read(lambda u: u.reports.versions("c1"))] == ["v1", "v2"]
    assert store.read(lambda u: u.reports.by_code("code-v2")) == amended
    assert store.read(lambda u: u.reports.by_code("code-v9")) is None
    for read in (lambda u: u.reports.version("v9"), lambda u: u.reports.pdf("v9")):
        with pytest.raises(NotFound):
            store.read(read)


@pytest.mark.parametrize("twin", [s.version("v2", 1), s.version("v2", 2, code="code-v1")])
def test_a_version_number_and_a_code_are_given_once(store, twin):
    store.run(s.with_signed)
    with pytest.raises(Conflict):
        store.run(lambda u: u.reports.add_version(twin, b"", []))


def test_a_version_is_filed_once_per_receiver_and_channel(store):
    store.run(s.with_signed)
    store.run(lambda u: u.reports.add_filing(s.filing()))
    with pytest.raises(Conflict):
        store.run(lambda u: u.reports.add_filing(s.filing("x2")))
    store.run(lambda u: u.reports.add_filing(s.filing("x3", channel="archive", state="pending", filed_at=None)))
    assert [x.id for x in store.read(lambda u: u.reports.pending_filings("archive"))] == ["x3"]
    assert list(store.read(lambda u: u.reports.pending_filings("inbox"))) == []
    assert {x.id for x in store.read(lambda u: u.reports.filings("c1"))} == {"x1", "x3"}
    assert [x.id for x in store.read(lambda u: u.reports.inbox(s.CLINIC))] == ["x1"]
    done = replace(
        s.filing(), state="acknowledged", read_by=s.DOCTOR, read_at=s.T0, acknowledged_by=s.DOCTOR,
        acknowledged_at=s.T0, attempts=1,
    )
    assert store.run(lambda u: u.reports.save_filing(done)) == replace(done, version=1)
    with pytest.raises(Stale):
        store.run(lambda u: u.reports.save_filing(done))
    assert store.read(lambda u: u.reports.filing("x1")) == replace(done, version=1)
    assert list(store.read(lambda u: u.reports.inbox(s.CLINIC))) == []
    assert [x.id for x in store.read(lambda u: u.reports.inbox(s.CLINIC, open_only=False))] == ["x1"]
    assert list(store.read(lambda u: u.reports.inbox(s.HOSPITAL, open_only=False))) == []


def test_an_order_is_found_by_accession_and_by_who_has_to_do_with_it(store):
    store.run(s.with_consultation)
    order = s.order(consultation="c1")
    store.run(lambda u: u.studies.add_order(order))
    with pytest.raises(Conflict):
        store.run(lambda u: u.studies.add_order(s.order("e2", accession="Ae1")))
    store.run(lambda u: u.studies.add_order(s.order("e2", accession="Ae1", issuer=s.CENTRE, performing=s.CENTRE)))
    assert store.read(lambda u: u.studies.order("e1")) == order
    assert store.read(lambda u: u.studies.order_by_accession(s.HOSPITAL, "Ae1")) == order
    assert store.read(lambda u: u.studies.order_by_accession(s.CLINIC, "Ae1")) is None

    def ids(**query):
        return {x.id for x in store.read(lambda u: u.studies.orders(**query))}

    assert ids(organisation=s.CLINIC) == {"e1", "e2"}
    assert ids(organisation=s.CENTRE) == {"e2"}
    assert ids(patient=s.OTHER) == set()
    assert ids(consultation="c1") == {"e1"}
    assert len(ids(limit=1)) == 1
    voided = replace(order, voided_at=s.T0, voided_reason="错")
    assert store.run(lambda u: u.studies.save_order(voided)) == replace(voided, version=1)
    with pytest.raises(Stale):
        store.run(lambda u: u.studies.save_order(voided))
    with pytest.raises(NotFound):
        store.read(lambda u: u.studies.order("e9"))


def test_a_study_has_one_match_in_force_per_holder(store):
    store.run(lambda u: u.studies.add_order(s.order()))
    first = s.match(order="e1", method=m.MatchMethod.ACCESSION, by=None)
    store.run(lambda u: u.studies.add_match(first))
    with pytest.raises(Conflict):
        store.run(lambda u: u.studies.add_match(s.match("k2", patient=s.OTHER)))
    store.run(lambda u: u.studies.add_match(s.match("k3", organisation=s.CENTRE, at=s.after(minutes=1))))
    assert store.read(lambda u: u.studies.match("2.25.1", s.HOSPITAL)) == first
    store.run(lambda u: u.studies.void_match("k1", by=s.TECHNICIAN, at=s.after(hours=1), reason="错人"))
    assert store.read(lambda u: u.studies.match("2.25.1", s.HOSPITAL)) is None
    store.run(lambda u: u.studies.add_match(s.match("k2", patient=s.OTHER, at=s.after(hours=2))))

    def ids(**query):
        return [x.id for x in store.read(lambda u: u.studies.matches(**query))]

    assert ids() == ["k3", "k2"]
    assert ids(organisation=s.HOSPITAL) == ["k2"]
    assert ids(patient=s.PATIENT) == ["k3"]
    assert ids(study_uid="2.25.1") == ["k3", "k2"]
    assert ids(study_uid="2.25.2") == []
    with pytest.raises(NotFound):
        store.run(lambda u: u.studies.void_match("k9", by=None, at=s.T0, reason=""))


def test_events_are_numbered_per_aggregate(store):
    assert store.read(lambda u: u.events.next_n("consultation:c1")) == 1
    store.run(lambda u: u.events.append(s.event(1)))
    store.run(lambda u: u.events.append(s.event(2, payload={"missing": [{"item": "片子"}]}, staff=None)))
    store.run(lambda u: u.events.append(s.event(1, "patient:p")))
    assert store.read(lambda u: u.events.next_n("consultation:c1")) == 3
    with pytest.raises(Conflict):
        store.run(lambda u: u.events.append(replace(s.event(2), id="other")))
    found = store.read(lambda u: u.events.of("consultation:c1"))
    assert list(found) == [s.event(1), s.event(2, payload={"missing": [{"item": "片子"}]}, staff=None)]


def test_audit_rows_are_numbered_chained_and_filtered(store):
    first = store.run(lambda u: u.audit.append(s.audit()))
    second = store.run(lambda u: u.audit.append(s.audit("open", object="study:1", staff=None, outcome="denied")))
    assert (first.n, second.n) == (1, 2)
    assert first.hash
    assert first.hash != second.hash
    assert list(store.read(lambda u: u.audit.rows())) == [first, second]
    assert list(store.read(lambda u: u.audit.rows(after=1))) == [second]
    assert list(store.read(lambda u: u.audit.rows(limit=1))) == [first]
    assert list(store.read(lambda u: u.audit.rows(before=3))) == [second, first]
    assert list(store.read(lambda u: u.audit.rows(before=3, limit=1))) == [second]
    assert list(store.read(lambda u: u.audit.rows(before=2))) == [first]
    assert list(store.read(lambda u: u.audit.rows(object="study:1"))) == [second]
    assert list(store.read(lambda u: u.audit.rows(staff="s-doctor"))) == [first]
    assert list(store.read(lambda u: u.audit.rows(organisation=s.HOSPITAL))) == []


def test_feedback_is_kept_as_said_oldest_first(store):
    def fill(uow):
        s.with_consultation(uow)
        s.with_consultation(uow, "c2")
        uow.feedback.add(s.feedback())
        uow.feedback.add(s.rating(at=s.after(days=1)))
        uow.feedback.add(s.feedback("y2", day=30, at=s.after(days=30), rating=None, final=True))
        uow.feedback.add(s.feedback("y3", consultation="c2"))

    store.run(fill)
    assert list(store.read(lambda u: u.feedback.of("c1"))) == [
        s.feedback(), s.rating(at=s.after(days=1)),
        s.feedback("y2", day=30, at=s.after(days=30), rating=None, final=True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "again", [s.feedback("y2", outcome="died"), s.feedback("y2", by=s.COLLEAGUE), s.rating("y2", rating=1)]
)
def test_the_clinic_tells_of_a_day_once_and_an_expert_rates_once(store, again):
    def fill(uow):
        s.with_consultation(uow)
        uow.feedback.add(s.feedback())
        uow.feedback.add(s.rating())

    store.run(fill)
    with pytest.raises(Conflict):
        store.run(lambda u: u.feedback.add(again))
    store.run(lambda u: u.feedback.add(s.rating("y3", by=s.SECOND)))
    assert len(store.read(lambda u: u.feedback.of("c1"))) == 3


def test_what_was_shown_in_a_recording_is_counted_until_its_limit_and_forgotten_with_it(store):
    store.run(s.with_consultation)
    store.run(s.with_recording)
    assert store.read(lambda u: u.recordings.moments_kept("v1")) == (0, 0, False)
    rows = [Moment(id=f"w{n}", recording="v1", n=n, at=s.after(seconds=n), sealed="密封" * n) for n in (1, 2)]
    store.run(lambda u: u.recordings.add_moments(rows))
    assert list(store.read(lambda u: u.recordings.moments("v1"))) == rows
    assert store.read(lambda u: u.recordings.moments_kept("v1")) == (2, 6, False)
    last = Moment(id="w3", recording="v1", n=3, at=s.after(seconds=3), sealed="")
    store.run(lambda u: u.recordings.add_moments([last]))
    assert store.read(lambda u: u.recordings.moments_kept("v1")) == (3, 6, True)
    store.run(lambda u: u.recordings.forget_moments("v1"))
    assert list(store.read(lambda u: u.recordings.moments("v1"))) == []
