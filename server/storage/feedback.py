"""What both sides said after the report, insert-only (ports.Feedback)."""

from collections.abc import Sequence

from consult import model as m
from consult.feedback_entry import FeedbackEntry
from server.storage import rows
from server.storage.repository import Repository


class Feedback(Repository):
    def of(self, consultation: m.ConsultationId) -> Sequence[FeedbackEntry]:
        """Oldest first."""
        return self._list_by(rows.feedback, ("at", "id"), consultation=consultation)

    def add(self, entry: FeedbackEntry) -> None:
        """Conflict when the clinic has told of the day, or the expert has rated, already."""
        self._add(rows.feedback, entry)
