"""What was counted of each seat's line in a session (consult/line_quality.py): sums, added to while it lasts."""

from sqlalchemy import Column, ForeignKey, Text

from server.storage.columns import JsonTuple, number, ref, table

line_quality = table(
    "line_quality",
    Column("seat", Text, ForeignKey("seat.id"), primary_key=True),
    ref("session", "session.id", index=True),
    number("setup_ms", null=True),
    number("video_ms"),
    number("small_ms"),
    number("stills_ms"),
    number("audio_ms"),
    number("telephone_ms"),
    number("direct_ms"),
    number("turn_ms"),
    number("server_ms"),
    number("none_ms"),
    number("heard_ms"),
    number("concealed_ms"),
    number("counted_ms"),
    number("lost_ms"),
    Column("rtt", JsonTuple, nullable=False),
    number("freezes"),
    number("falls"),
    number("restarts"),
    number("rebuilds"),
    number("breaks"),
    number("silent_ms"),
    number("sent"),
    number("received"),
    info={"upgrade": 10},
)
