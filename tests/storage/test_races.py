"""Two at once: exactly one wins, on both engines, and nothing deadlocks."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from consult import model as m
from consult.errors import Conflict, Stale, WrongState
from server.storage.unit import verify_audit
from tests.storage import samples as s


def together(store, *units):
    """Start all at the same moment; each answers its result or its error."""
    gate = threading.Barrier(len(units))

    def one(unit):
        gate.wait(timeout=20)
        try:
            return store.run(unit)
        except (Conflict, Stale, WrongState) as error:
            return error

    with ThreadPoolExecutor(len(units)) as pool:
        return list(pool.map(one, units))


def accept_as(membership):
    def accept(uow):
        offer = uow.offers.get("f1")
        if offer.outcome is not m.OfferOutcome.OPEN:
            raise Conflict
        uow.offers.save(
            replace(offer, outcome=m.OfferOutcome.ACCEPTED, closed_by=membership, closed_at=s.after(minutes=1))
        )
        consultation = uow.consultations.get("c1")
        uow.consultations.save(replace(consultation, state=m.State.ACCEPTED))
        uow.consultations.add_participant(s.participant(membership, m.Part.EXPERT))
        uow.events.append(s.event(uow.events.next_n("consultation:c1")))
        uow.audit.append(s.audit("accept"))
        return membership

    return accept


def offered(uow):
    s.with_consultation(uow, state=m.State.OFFERED)
    uow.offers.add(s.offer())


def test_of_two_experts_who_accept_at_once_exactly_one_wins(sql):
    sql.run(offered)
    answers = together(sql, *(accept_as(x) for x in (s.EXPERT, s.SECOND) * 2))
    winners = [x for x in answers if isinstance(x, str)]
    assert len(winners) == 1
    assert all(isinstance(x, Conflict) for x in answers if not isinstance(x, str))
    assert [x.membership for x in sql.read(lambda u: u.consultations.participants("c1"))] == winners
    assert len(sql.read(lambda u: u.events.of("consultation:c1"))) == 1
    assert sql.read(lambda u: u.offers.get("f1")).closed_by == winners[0]


def test_of_two_with_the_same_version_in_hand_one_is_stale(sql):
    sql.run(s.with_consultation)
    read = sql.read(lambda u: u.consultations.get("c1"))

    def save(specialty):
        return lambda u: u.consultations.save(replace(read, target_specialty=specialty))

    answers = together(sql, *(save(f"{n}") for n in range(4)))
    assert sum(isinstance(x, m.Consultation) for x in answers) == 1
    assert sum(isinstance(x, Stale) for x in answers) == 3


def test_audit_rows_and_numbers_of_many_writers_have_no_gap(sql):
    def write(uow):
        uow.audit.append(s.audit())
        return uow.consultations.next_number(s.T0.date())

    answers = together(sql, *([write] * 8))
    assert sorted(answers) == list(range(1, 9))
    assert [x.n for x in sql.read(lambda u: u.audit.rows())] == list(range(1, 9))
    assert sql.read(verify_audit) is None


def test_a_resend_of_the_same_message_at_once_is_stored_once(sql):
    sql.run(s.with_consultation)

    def send(id):
        line = m.Message(
            id=id, consultation="c1", session=None, membership=s.DOCTOR, client_id="k", text="x", at=s.T0
        )
        return lambda u: u.meetings.add_message(line).id

    assert len(set(together(sql, *(send(f"{n}") for n in range(4))))) == 1
    assert len(sql.read(lambda u: u.meetings.messages("c1"))) == 1


def test_a_reader_sees_one_moment_even_while_others_write(sql):
    sql.run(s.with_consultation)

    def look(uow):
        first = uow.consultations.get("c1")
        # On another thread, as a request of somebody else would.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(sql.run, lambda u: u.consultations.save(replace(first, target_specialty="new"))).result(20)
        return first, uow.consultations.get("c1")

    before, after = sql.read(look)
    assert before == after
    assert sql.read(lambda u: u.consultations.get("c1")).version == 1
