"""The clinical settings of a site: every number that is a policy (DOMAIN §4, §6). Values only."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from consult.model import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Defaults of DOMAIN §4. Working days count the calendar's."""

    stat_accept: timedelta = timedelta(minutes=3)
    # Nobody accepts an emergency: ring again, tell dispatchers and pagers, telephone list and next pool.
    stat_steps: tuple[timedelta, timedelta, timedelta] = (
        timedelta(minutes=1), timedelta(minutes=3), timedelta(minutes=5),
    )  # fmt: skip
    stat_done: timedelta = timedelta(minutes=10)
    urgent_accept: timedelta = timedelta(minutes=30)
    urgent_done: timedelta = timedelta(hours=2)
    routine_accept_days: int = 1                   # working days
    routine_done: timedelta = timedelta(hours=48)
    read_accept: timedelta = timedelta(minutes=3)  # imaging and ECG reads that are urgent or STAT
    read_done: timedelta = timedelta(minutes=10)
    report_after_session: timedelta = timedelta(hours=24)
    returned: timedelta = timedelta(hours=24)      # when the list of missing items names no time
    acknowledge: timedelta = timedelta(hours=24)
    acknowledge_critical: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingCalendar:
    """Weekdays that are worked (0 = Monday) with the exceptions a government publishes every year."""

    weekdays: frozenset[int] = frozenset(range(5))
    holidays: frozenset[date] = frozenset()
    extra_days: frozenset[date] = frozenset()      # 调休: weekend days that are worked

    def is_working(self, day: date) -> bool:
        return day in self.extra_days or (day.weekday() in self.weekdays and day not in self.holidays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    deadlines: Deadlines = field(default_factory=Deadlines)
    calendar: WorkingCalendar = field(default_factory=WorkingCalendar)
    utc_offset: timedelta = timedelta(hours=8)     # the wall clock in which days, numbers and windows are meant
    expert_access_days: int = 45                   # after the consultation closed (DOMAIN §6): past the 30-day outcome
    two_signatures: frozenset[Service] = frozenset()   # services whose report a reviewer signs too
    named_offer_days: int = 1                      # working days a routine direct request waits for its expert
    feedback_days: int = 7                         # after the acknowledgement the clinic is asked for feedback
    feedback_within_days: int = 7                  # each outcome is told so long after its day
    archive_days: int = 45                         # feedback that nobody gives is asked for so long
    invitation: timedelta = timedelta(minutes=60)  # a guest enters within so long, or is invited again
    lost_seat: timedelta = timedelta(minutes=30)   # a guest whose line is lost still reads for so long
    recording_days: int = 90                       # a recording is kept so long after its end
    report_channels: tuple[str, ...] = ("inbox", "archive", "webhook")
