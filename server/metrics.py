"""Prometheus figures of one process. Labels are route templates, methods and codes: never ids, never patient data.

docs/operating.md lists every metric; a test compares it with this class.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

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
        self.frames = Counter("huizhen_frames", "Image frames served", registry=own)
        self.instances = Counter(
            "huizhen_instances", "DICOM instances received by outcome", ["outcome"], registry=own
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

    def names(self) -> set[str]:
        """The documented names (counters without the `_total` that Prometheus adds)."""
        return {family.name for family in self.registry.collect()}

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
