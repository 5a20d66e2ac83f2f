"""What was said of a consultation after its report: values only. The services stand in consult/feedback.py."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from consult.model import ConsultationId
from consult.people import MembershipId


class Side(StrEnum):
    CLINIC = "clinic"  # what became of the patient and of the advice
    EXPERT = "expert"  # how well the request was made


class Adoption(StrEnum):
    ADOPTED = "adopted"
    PARTLY = "partly"
    NOT = "not"


class Outcome(StrEnum):
    IMPROVED = "improved"
    UNCHANGED = "unchanged"
    WORSE = "worse"
    REFERRED = "referred"
    DIED = "died"
    LOST = "lost"  # to follow-up


DAYS: tuple[int, ...] = (7, 30)
"""Days after the acknowledgement at which the outcome is asked for (DOMAIN §3)."""
LAST_DAY = DAYS[-1]
RATINGS: tuple[int, ...] = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackEntry:
    """Insert-only. The clinic says one per day of DAYS, an expert one (then all but `rating` and `comment` is empty).

    `final`: nobody will ask again, so the consultation was archived with it.
    """

    id: str
    consultation: ConsultationId
    side: Side
    by: MembershipId
    at: datetime
    day: int | None = None
    adoption: Adoption | None = None
    reason: str = ""  # why the advice was not, or not wholly, adopted
    plan_changed: bool | None = None
    done: str = ""
    outcome: Outcome | None = None
    rating: int | None = None
    comment: str = ""
    final: bool = False
