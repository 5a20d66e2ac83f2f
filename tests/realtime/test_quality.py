"""The quality of a session: what is counted of each line, that it goes to the rows, and that a gap stays a gap."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consult import attending, line_quality
from consult import model as m
from consult.errors import NotFound
from consult.line_sums import RTT_STEPS, RUNGS, WAYS, SeatLine
from server.metrics import Metrics
from server.signalling.meter import Meter
from server.signalling.quality import Book
from tests.realtime.world import CASE, Hall

LINE = SeatLine(seat=m.SeatId("s"), session=m.SessionId("q"))
share = st.none() | st.floats(0, 1)
moment = st.floats(0, 600)
WORDS = st.one_of(
    st.tuples(st.just("be"), st.sampled_from(("", *RUNGS)), st.sampled_from(("", *WAYS))),
    st.tuples(st.just("hear"), st.sampled_from("abc"), st.fixed_dictionaries({}, optional={
        "concealed": share, "loss": share, "rtt_ms": st.none() | st.floats(0, 1e9),
        "freezes": st.none() | st.integers(0, 9),
    })),
    st.tuples(st.just("tell"), st.integers(0, 10**8), st.integers(0, 5)),
    st.just(("take",)),
)


@settings(deadline=None)
@given(st.lists(st.tuples(moment, WORDS), max_size=60))
def test_in_any_order_nothing_counted_exceeds_the_time_that_passed(words):
    meter, total, end = Meter(LINE.seat, LINE.session, at=0.0), LINE, 0.0
    for at, word in words:                                   # moments may repeat and go backwards
        end = max(end, at)
        match word:
            case ("be", rung, way):
                meter.be(rung=rung, way=way, at=at)
            case ("hear", sender, figures):
                meter.hear(sender, figures, at=at)
            case ("tell", silent, breaks):
                meter.tell(setup_ms=silent, breaks=breaks, silent_ms=silent, sent=1, received=1, at=at, lasted=end)
            case _:
                total = total.plus(meter.take())
    meter.be(rung="", way="", at=end)
    total = total.plus(meter.take())
    length = round(end * 1000)
    sent, went = (sum(getattr(total, f"{x}_ms") for x in names) for names in (RUNGS, WAYS))
    assert sent <= length
    assert went <= sent + len(RUNGS)                         # fractions of a millisecond wait on each
    for name in ("heard_ms", "counted_ms"):
        assert getattr(total, name) <= 3 * (length + 1000)      # three senders, each at once
    assert total.concealed_ms <= total.heard_ms + 1
    assert total.lost_ms <= total.counted_ms + 1
    assert total.silent_ms <= length + 1
    assert total.setup_ms is None or total.setup_ms <= length
    assert len(total.rtt) in {0, len(RTT_STEPS) + 1}
    assert meter.take().empty


lines = st.builds(
    SeatLine, seat=st.just(LINE.seat), session=st.just(LINE.session), video_ms=st.integers(0, 99),
    silent_ms=st.integers(0, 99), rtt=st.just(()) | st.tuples(*[st.integers(0, 3)] * (len(RTT_STEPS) + 1)),
    setup_ms=st.none() | st.integers(0, 99),
)


@given(lines, lines, lines)
def test_sums_can_be_added_in_any_portions(one, two, three):
    assert one.plus(two).plus(three) == one.plus(two.plus(three))
    assert one.plus(LINE) == one
    assert one.plus(two).video_ms == two.plus(one).video_ms


def test_the_same_report_twice_and_reports_without_figures_change_no_share():
    meter = Meter(LINE.seat, LINE.session, at=0.0)
    for second in range(1, 11):
        for _ in range(2):
            meter.hear("a", {"concealed": 0.5 if second == 1 else 0.0, "rtt_ms": 30, "freezes": 1}, at=second)
        meter.hear("b", {}, at=second)
    line = meter.take()
    assert (line.heard_ms, line.concealed_ms, line.freezes, line.counted_ms) == (10_000, 500, 10, 0)
    assert line.concealed == pytest.approx(0.05)
    assert line.loss is None
    assert 28 <= line.round_trip(0.5) <= 40


def test_reports_that_arrive_together_count_for_the_seconds_they_waited():
    meter = Meter(LINE.seat, LINE.session, at=0.0)
    meter.hear("a", {"concealed": 0.0}, at=1.0)
    for _ in range(3):
        meter.hear("a", {"concealed": 1.0}, at=4.0)              # the socket stood still for three seconds
    assert meter.take().concealed_ms == 3000
    meter.hear("a", {"concealed": 1.0}, at=60.0)                 # after a gap one report is one second
    assert meter.take().heard_ms == 1000


def test_the_figures_move_with_what_was_counted_and_name_nobody():
    metrics = Metrics()
    more = {"video_ms": 30_000, "turn_ms": 30_000, "heard_ms": 30_000, "concealed_ms": 3_000, "breaks": 1,
            "silent_ms": 12_000, "restarts": 2, "rebuilds": 1}
    metrics.count_line(replace(LINE, **more))
    told = metrics.text().decode()
    for figure in (
        'huizhen_room_rung_seconds_total{rung="video"} 30.0', 'huizhen_room_way_seconds_total{way="turn"} 30.0',
        'huizhen_room_concealed_share_bucket{le="0.05"} 0.0', 'huizhen_room_concealed_share_bucket{le="0.1"} 1.0',
        "huizhen_room_breaks_total 1.0", "huizhen_room_break_seconds_total 12.0",
        'huizhen_room_reconnects_total{kind="restart"} 2.0', 'huizhen_room_reconnects_total{kind="rebuild"} 1.0',
    ):
        assert figure in told


class Counted:
    """A Book over the hall's rooms, on the hall's clock."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self.told: list[SeatLine] = []
        self.set_up: list[float] = []
        self.renew()

    def renew(self) -> None:
        self.book = Book(
            services=self.hall.services, clock=lambda: self.hall.world.uow.now, told=self.told.append,
            set_up=self.set_up.append,
        )
        self.hall.rooms.handler.noticed = self.book.noticed

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.hall.pass_time(1)
            await self.book.round(self.hall.rooms.rooms)

    def line(self, who: str) -> SeatLine:
        return self.hall.world.uow.meetings.line(self.hall.seat(who).id) or LINE

    def quality(self, who: str = "doctor") -> line_quality.SessionQuality:
        (found,) = line_quality.session_qualities(self.hall.world.uow, actor=self.hall.world[who], consultation=CASE)
        return found


@pytest.fixture
def counted(hall: Hall) -> Counted:
    return Counted(hall)


async def sends(browser, rung: str, *, camera: bool = True, most: str = "video") -> None:
    assert (await browser.call("state", mic=True, camera=camera, rung=rung, most=most))["type"] == "ack"


async def test_time_on_each_rung_counts_only_while_somebody_is_there_to_see_it(hall: Hall, counted: Counted):
    doctor = await hall.browser("doctor").enter()
    await sends(doctor, "video")
    await counted.pass_time(40)                              # alone
    expert = await hall.browser("expert").enter()
    await sends(expert, "small")
    await counted.pass_time(10)
    await doctor.call("path", to=expert.seat, path="relay")
    await sends(doctor, "audio")
    await counted.pass_time(20)
    await doctor.call("finish")
    await counted.pass_time(5)
    line = counted.line("doctor")
    assert (line.video_ms, line.audio_ms, line.turn_ms, line.falls) == (10_000, 20_000, 20_000, 1)
    assert counted.line("expert").small_ms == 30_000
    assert counted.quality().seconds == 70
    assert counted.quality().verdict.falls == 1


async def test_what_somebody_chose_and_a_camera_that_is_off_is_no_fall(hall: Hall, counted: Counted):
    doctor, expert = await hall.both()
    await sends(doctor, "video")
    await sends(expert, "video", most="audio")
    await sends(doctor, "audio")
    await sends(expert, "audio", camera=False)
    await counted.pass_time(31)
    assert counted.line("doctor").falls == counted.line("expert").falls == 0


async def test_a_crash_costs_half_a_minute_and_a_restart_goes_on_adding(hall: Hall, counted: Counted):
    doctor, expert = await hall.both()
    await sends(doctor, "video")
    await counted.pass_time(70)
    kept = counted.line("doctor").video_ms
    assert 40_000 <= kept <= 70_000
    hall.restart()
    counted.renew()
    for browser in (doctor, expert):
        await browser.connect()
        await browser.hello()
    await sends(doctor, "video")
    await counted.pass_time(35)
    assert counted.line("doctor").video_ms >= kept + 30_000
    await counted.book.close()
    assert counted.line("doctor").video_ms == kept + 35_000


async def test_a_last_word_while_the_book_is_closed_is_counted_too(hall: Hall, counted: Counted):
    doctor, expert = await hall.both()
    await sends(doctor, "video")
    await counted.pass_time(20)
    run, said = hall.services.run, []

    async def while_it_is_written(*args, **more):
        if not said:
            said.append(await doctor.call("restart", to=expert.seat, pc="p", attempt=1))
        return await run(*args, **more)

    hall.services.run = while_it_is_written
    await counted.book.close()
    assert [x["type"] for x in said] == ["ack"]
    assert counted.line("doctor").restarts == 1


async def test_what_the_store_refused_is_added_later(hall: Hall, counted: Counted):
    doctor, _ = await hall.both()
    await sends(doctor, "video")
    await counted.pass_time(20)
    hall.services.failing = 1
    await counted.pass_time(50)
    assert sum(x.video_ms for x in counted.told if x.seat == doctor.seat) == counted.line("doctor").video_ms >= 50_000


async def test_what_the_browser_tells_is_kept_also_after_the_end(hall: Hall, counted: Counted):
    doctor, expert = await hall.both()
    await counted.pass_time(20)
    await doctor.call("tally", setup_ms=900, sent=1000, received=2000)
    await doctor.call("tally", breaks=1, silent_ms=12_000, sent=1)
    await doctor.call("restart", to=expert.seat, pc="p", attempt=1)
    await doctor.call("restart", to=expert.seat, pc="p", attempt=4, rebuild=True)
    await expert.call("finish")
    assert (await doctor.call("tally", received=5))["type"] == "ack"
    await counted.pass_time(1)
    line = counted.line("doctor")
    assert (line.setup_ms, line.breaks, line.silent_ms, line.sent, line.received) == (900, 1, 12_000, 1001, 2005)
    assert (line.restarts, line.rebuilds) == (1, 1)
    assert counted.set_up == [0.9]
    verdict = counted.quality().verdict
    assert (verdict.breaks, verdict.silent, verdict.speech) == (1, 12, "unmeasured")
    assert (await doctor.call("tally", silent_ms=-1))["code"] == "malformed"


async def test_speech_is_judged_by_whoever_heard_least(hall: Hall, counted: Counted):
    doctor, expert = await hall.both()
    for _ in range(8):
        await doctor.raw({"type": "quality", "of": expert.seat, "concealed": 0.0, "loss": 0.01, "rtt_ms": 40})
        await expert.raw({"type": "quality", "of": doctor.seat, "concealed": 0.2, "rtt_ms": 200, "freezes": 1})
        for browser in (doctor, expert):
            await browser.call("hand", up=True)                  # answered after the report
        await counted.pass_time(1)
    await doctor.call("finish")
    await counted.pass_time(1)
    assert counted.line("doctor").concealed == 0
    assert counted.line("expert").concealed == pytest.approx(0.2, abs=0.001)
    assert counted.quality().verdict.speech == "poor"


async def test_a_lost_line_is_a_gap_of_its_length_and_nobody_left(hall: Hall, counted: Counted):
    doctor, expert = await hall.both()
    await sends(expert, "video")
    await counted.pass_time(10)
    await expert.drop()
    await doctor.expect("presence")
    await counted.pass_time(60)
    again = await expert.connect()
    await again.hello()
    await counted.pass_time(10)
    seat = next(x for x in counted.quality().seats if x.name == "陈立")
    assert seat.gaps == line_quality.Gaps(times=1, seconds=60)
    assert seat.present == 20
    assert [why for _, why in hall.attendance("expert")] == ["lost", ""]


def test_only_who_may_read_what_was_said_sees_how_it_was(hall: Hall):
    world = hall.world
    for who in ("doctor", "expert"):
        seat = attending.take_seat(world.uow, actor=world[who], session=m.SessionId(hall.session))
        attending.admit(world.uow, actor=world[who], seat=seat.id)
        assert len(line_quality.session_qualities(world.uow, actor=world[who], consultation=CASE)) == 1
    for who in ("stranger", "colleague"):
        with pytest.raises(NotFound):
            line_quality.session_qualities(world.uow, actor=world[who], consultation=CASE)


def test_a_gap_that_never_ended_lasts_to_the_end():
    at = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    stays = [
        m.Attendance(seat=LINE.seat, entered_at=at, left_at=at + timedelta(seconds=10), reason="lost"),
        m.Attendance(seat=LINE.seat, entered_at=at + timedelta(seconds=22), left_at=at + timedelta(60), reason="lost"),
    ]
    assert line_quality.gaps_of(stays, at + timedelta(60, 5)) == line_quality.Gaps(times=2, seconds=17)
