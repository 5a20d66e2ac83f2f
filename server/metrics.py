"""Prometheus figures of one process. Labels are route templates, methods and codes: never ids, never patient data.

docs/operating.md lists every metric; a test compares it with this class.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from consult.line_sums import RUNGS, WAYS, SeatLine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All metrics, in a registry of their own so that two applications can live in one process (tests)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter(
            "huizhen_requests",
            "HTTP requests by route, method and status",
            ["route", "method", "status"],
            registry=own,
        )
        self.seconds = Histogram(
            "huizhen_request_seconds",
            "Time to answer by route",
            ["route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=own,
        )
        self.problems = Counter("huizhen_problems", "Refused requests by code", ["code"], registry=own)
        self.logins = Counter("huizhen_logins", "Sign-ins by outcome", ["outcome"], registry=own)
        self.csp_reports = Counter(
            "huizhen_csp_reports", "Content-Security-Policy reports by directive", ["directive"], registry=own
        )
        self.event_streams = Gauge("huizhen_event_streams", "Open live-update streams", registry=own)
        self.rooms = Gauge("huizhen_rooms", "Live rooms", registry=own)
        self.room_sockets = Gauge("huizhen_room_sockets", "Open room sockets", registry=own)
        self.room_rungs = Counter(
            "huizhen_room_rungs", "Changes of what a seat sends, by the rung it came to", ["rung"], registry=own
        )
        self.media_relay_deaths = Counter(
            "huizhen_media_relay_deaths", "Times the media relay died while rooms were on it", registry=own
        )
        self.room_setup = Histogram(
            "huizhen_room_setup_seconds", "From entering a room to the first sound or picture of somebody else",
            buckets=(0.25, 0.5, 1, 1.5, 2, 3, 5, 8, 15, 30, 60), registry=own,
        )
        self.room_concealed = Histogram(
            "huizhen_room_concealed_share", "Share of the speech that a seat had to make up, in about half a minute",
            buckets=(0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5), registry=own,
        )
        self.room_rung_seconds = Counter(
            "huizhen_room_rung_seconds", "Seconds that seats sent, by rung", ["rung"], registry=own
        )
        self.room_way_seconds = Counter(
            "huizhen_room_way_seconds", "Seconds that seats sent, by the way media took", ["way"], registry=own
        )
        self.room_breaks = Counter(
            "huizhen_room_breaks", "Times a seat heard and saw nothing for three seconds or more", registry=own
        )
        self.room_break_seconds = Counter(
            "huizhen_room_break_seconds", "Seconds for which a seat heard and saw nothing", registry=own
        )
        self.room_reconnects = Counter(
            "huizhen_room_reconnects", "Restarted paths and connections made anew", ["kind"], registry=own
        )
        self.frames = Counter("huizhen_frames", "Image frames served", registry=own)
        self.instances = Counter(
            "huizhen_instances", "DICOM instances received by outcome", ["outcome"], registry=own
        )
        self.dimse_refused = Counter(
            "huizhen_dimse_refused", "Connections to the DICOM ports not served, by reason", ["reason"], registry=own
        )
        self.task_failures = Counter(
            "huizhen_task_failures", "Background tasks that failed and were started again", ["task"], registry=own
        )
        self.forward_waiting = Gauge(
            "huizhen_forward_waiting", "DICOM instances that wait to be forwarded", registry=own
        )
        self.archive_damaged = Gauge(
            "huizhen_archive_damaged", "Stored images that are wrong, with no sound copy here", registry=own
        )
        self.disk_low = Gauge("huizhen_disk_low", "1 while uploads are refused for want of space", registry=own)
        self.disk_free = Gauge("huizhen_disk_free_bytes", "Free space in the data folder", registry=own)

    def count_line(self, line: SeatLine) -> None:
        """What was counted of one seat's line since the last time."""
        for rung in RUNGS:
            self.room_rung_seconds.labels(rung).inc(getattr(line, f"{rung}_ms") / 1000)
        for way in WAYS:
            self.room_way_seconds.labels(way).inc(getattr(line, f"{way}_ms") / 1000)
        if line.concealed is not None:
            self.room_concealed.observe(line.concealed)
        self.room_breaks.inc(line.breaks)
        self.room_break_seconds.inc(line.silent_ms / 1000)
        self.room_reconnects.labels("restart").inc(line.restarts)
        self.room_reconnects.labels("rebuild").inc(line.rebuilds)

    def names(self) -> set[str]:
        """The documented names (counters without the `_total` that Prometheus adds)."""
        return {family.name for family in self.registry.collect()}

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
