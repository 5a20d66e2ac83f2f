"""When images may be removed after their retention, and what keeps them (docs/decisions/0009-removal-by-two-people.md).

The archive removes (`dicom.life.removal`), the server keeps proposals and holds; here stands what the clinic says.
"""

from datetime import datetime

from consult.access import surviving
from consult.errors import NotFound
from consult.lifecycle import TERMINAL
from consult.people import Actor, MembershipId
from consult.ports import UnitOfWork
from consult.scoping import is_hidden


def years_before(moment: datetime, years: int) -> datetime:
    """The same day and time so many years earlier; the 28th where that year has no 29 February."""
    try:
        return moment.replace(year=moment.year - years)
    except ValueError:
        return moment.replace(year=moment.year - years, day=28)


def why_kept(uow: UnitOfWork, study_uid: str) -> str:
    """Why the clinic still needs a study, whoever holds it; '' where it does not.

    `doubted_study`: an expert's doubt is not settled. `open_consultation`: a consultation that is not over shares it,
    or is about the patient whom it is matched to.
    """
    if is_hidden(uow, study_uid):
        return "doubted_study"
    if any(x.state not in TERMINAL for x in uow.consultations.sharing(study_uid)):
        return "open_consultation"
    for match in uow.studies.matches(study_uid=study_uid):
        patient = surviving(uow, uow.patients.get(match.patient))
        for identity in (patient.id, *(x.id for x in uow.patients.merged_from(patient.id))):
            if any(x.state not in TERMINAL for x in uow.consultations.of_patient(identity)):
                return "open_consultation"
    return ""


def same_person(uow: UnitOfWork, actor: Actor, membership: MembershipId) -> bool:
    """Whether the actor is whoever acted through `membership`, in whatever place or role now."""
    try:
        return uow.people.membership(membership).staff == actor.staff
    except NotFound:
        return True
