"""One consultation as its tale is told: the parties, and each step as one short call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from consult import attending, consent, emergency, feedback, material, reporting, requesting, scheduling, triage
from consult import model as m
from consult.patient import Sex
from server.demo import papers
from server.demo.stage import Signatory, Stage
from server.romanise import romanise

Put = Callable[[bytes], str]


@dataclass(slots=True, kw_only=True)
class Desk:
    """What every tale works with."""

    stage: Stage
    signatory: Signatory
    put: Put
    kept: dict[str, tuple[str, int]] = field(default_factory=dict)

    def picture(self, name: str, draw: Callable[[], Any]) -> tuple[str, int]:
        """Digest and size of a drawn document, drawn once."""
        if name not in self.kept:
            self.kept[name] = papers.file(draw(), self.put)
        return self.kept[name]

    def case(self, key: str, doctor: str, patient: str, **how: Any) -> Case:
        return Case(desk=self, key=key, doctor=doctor, patient=patient, **how)


@dataclass(slots=True, kw_only=True)
class Case:
    """`doctor` asks, `expert` answers (set by `accept`); both are keys of Stage.actors."""

    desk: Desk
    key: str
    doctor: str
    patient: str
    service: m.Service = m.Service.CLINICAL
    mode: m.Mode = m.Mode.STORED
    urgency: m.Urgency = m.Urgency.ROUTINE
    target: requesting.Target | None = None
    expert: str = ""
    id: m.ConsultationId = field(default=m.ConsultationId(""))
    report: m.Report | None = None
    session: m.Session | None = None

    @property
    def stage(self) -> Stage:
        return self.desk.stage

    @property
    def now(self) -> m.Consultation:
        return self.stage.told(lambda uow: uow.consultations.get(self.id))

    def _do(self, service: Callable[..., Any], actor: str, **kwargs: Any) -> Any:
        return self.stage.do(service, actor, consultation=self.id, **kwargs)

    # -- the clinic

    def write(self, content: Mapping[str, Any], questions: Sequence[str]) -> None:
        """A draft where there is none yet, then the form."""
        if not self.id:
            made = self.stage.do(
                requesting.start_draft, self.doctor,
                patient=self.stage.patients[self.patient], service=self.service, mode=self.mode,
                urgency=self.urgency, target=self.target,
            )  # fmt: skip
            self.id = made.id
        self._do(
            requesting.save_request, self.doctor, version=self.now.version, content=content, questions=questions
        )

    def attach(self, kind: str, title: str, name: str, draw: Callable[[], Any]) -> m.DocumentId:
        digest, size = self.desk.picture(name, draw)
        document: m.Document = self._do(
            material.add_document, self.doctor,
            kind=kind, title=title, media_type="image/png", digest=digest, size=size, pages=1,
        )  # fmt: skip
        return document.id

    def agree(self, signer: str, relation: str = "self") -> None:
        """The consent, signed on the screen."""
        document = self.attach("signature", "知情同意签名", f"signature:{signer}", lambda: papers.signature(signer))
        given = consent.GivenConsent(
            text_version=consent.CURRENT_TEXT, signer=signer, relation=relation, mode=m.ConsentMode.SIGNATURE,
            document=document,
        )  # fmt: skip
        self._do(consent.record_consent, self.doctor, given=given)

    def share(self, study: str) -> None:
        self._do(material.share_study, self.doctor, study_uid=self.stage.studies[study].study_uid)

    def submit(self) -> None:
        self._do(requesting.submit_request, self.doctor)

    def ring(self, question: str, place: str, witnesses: tuple[str, str]) -> None:
        """An emergency for an unknown patient."""
        given = consent.GivenConsent(
            text_version=consent.RESCUE_TEXT, signer="", relation="other", mode=m.ConsentMode.WITNESSES,
            witnesses=witnesses,
        )  # fmt: skip
        target = requesting.Target(organisation=self.stage.places[place])
        made = self.stage.do(
            emergency.start_stat, self.doctor,
            patient=None, consent=given, question=question, target=target, unknown_sex=Sex.MALE, romanise=romanise,
        )  # fmt: skip
        self.id = made.id
        self.stage.patients[self.patient] = made.patient

    def withdraw(self, reason: str) -> None:
        self._do(requesting.withdraw_request, self.doctor, reason=reason)

    def acknowledge(self) -> None:
        newest = self.stage.told(lambda uow: max(uow.reports.versions(self.id), key=lambda x: x.n))
        self.stage.do(reporting.mark_report_read, self.doctor, version=newest.id)
        self._do(reporting.acknowledge_report, self.doctor)

    def tell(self, given: feedback.GivenFeedback) -> None:
        self._do(feedback.give_feedback, self.doctor, given=given)

    # -- the dispatcher

    def receive(self, dispatcher: str) -> None:
        self._do(triage.receive_request, dispatcher)

    def send_back(self, dispatcher: str, items: Sequence[tuple[str, datetime | None]], note: str = "") -> None:
        missing = [{"item": x, "due": due.isoformat() if due else None} for x, due in items]
        self._do(triage.return_request, dispatcher, items=missing, note=note)

    def reject(self, dispatcher: str, reason: str) -> None:
        self._do(triage.reject_request, dispatcher, reason=reason)

    def offer(self, dispatcher: str, *, expert: str = "", place: str = "") -> None:
        self._do(
            triage.offer_consultation, dispatcher,
            membership=self.stage.actors[expert].membership if expert else None,
            organisation=self.stage.places[place] if place else None,
        )  # fmt: skip

    # -- the expert

    def accept(self, expert: str) -> None:
        self.expert = expert
        self._do(triage.accept_offer, expert)

    def decline(self, expert: str, reason: str) -> None:
        self._do(triage.decline_offer, expert, reason=reason)

    def schedule(self, at: datetime) -> None:
        self._do(scheduling.schedule_session, self.expert, at=at)

    def check_in(self, who: str) -> None:
        self._do(scheduling.check_in, who, precheck={"camera": True, "microphone": True, "path": "direct"})

    def no_show(self, reason: str) -> None:
        self._do(scheduling.mark_no_show, self.expert, reason=reason)

    def cancel(self, who: str, reason: str, fault: str) -> None:
        self._do(triage.cancel_consultation, who, reason=reason, fault=fault)

    def read(self) -> None:
        self._do(scheduling.start_review, self.expert)

    def ask(self, items: Sequence[tuple[str, datetime | None]]) -> None:
        missing = [{"item": x, "due": due.isoformat() if due else None} for x, due in items]
        self._do(material.request_material, self.expert, items=missing)

    def draft(self, content: Mapping[str, Any]) -> None:
        if self.report is None:
            self.report = self._do(reporting.open_report, self.expert)
        saved: m.Report = self.stage.do(
            reporting.save_report, self.expert,
            report=self.report.id, version=self.report.version, content=content,
        )  # fmt: skip
        self.report = saved

    def sign(self) -> None:
        if self.report is None:
            raise LookupError(self.key)
        self.desk.signatory.sign(self.stage.actors[self.expert], self.report)

    def amend(self, reason: str) -> None:
        """Opens the signed report for an amendment."""
        self.report = self._do(reporting.amend_report, self.expert, reason=reason)

    def rate(self, rating: int, comment: str) -> None:
        self._do(feedback.rate_request, self.expert, rating=rating, comment=comment)

    # -- the meeting

    def meet(self, who: str) -> None:
        """Opens the session where there is none, and sits down in it."""
        self.session = self._do(attending.open_session, who)
        seat = self.stage.do(attending.take_seat, who, session=self.session.id)
        self.stage.do(attending.admit, who, seat=seat.id)

    def say(self, who: str, text: str, number: int) -> None:
        session = self.session.id if self.session else None
        self._do(attending.send_message, who, client_id=f"demo-{number}", text=text, session=session)

    def lines_drop(self) -> None:
        """Nobody is on the line any more when the server starts; the meeting goes on."""
        if self.session is None:
            raise LookupError(self.key)
        session = self.session.id

        def drop(uow: Any) -> None:
            for seat in uow.meetings.seats(session):
                attending.seat_lost(uow, seat=seat.id, at=uow.now)

        self.stage.told(drop)

    def finish(self, who: str) -> None:
        if self.session is None:
            raise LookupError(self.key)
        self.stage.do(attending.finish_session, who, session=self.session.id)


def after(moment: datetime, **span: float) -> datetime:
    return moment + timedelta(**span)
