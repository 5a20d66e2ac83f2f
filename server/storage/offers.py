"""Offers to a membership or a pool (ports.Offers)."""

from collections.abc import Sequence
from datetime import datetime

from consult import model as m
from server.storage import rows
from server.storage.repository import Repository
from server.storage.tables import offer


class Offers(Repository):
    def get(self, id: m.OfferId) -> m.Offer:
        return self._get(rows.offer, id)

    def add(self, offer: m.Offer) -> None:
        self._add(rows.offer, offer)
        self.link.relist.add(offer.consultation)

    def save(self, offer: m.Offer) -> m.Offer:
        stored = self._save(rows.offer, offer)
        self.link.relist.add(offer.consultation)
        return stored

    def of(self, consultation: m.ConsultationId) -> Sequence[m.Offer]:
        """Oldest first."""
        return self._list_by(rows.offer, ("made_at", "id"), consultation=consultation)

    def expired(self, moment: datetime, *, limit: int = 100) -> Sequence[m.Offer]:
        """Open offers whose expiry is at or before the moment, the longest expired first."""
        c = offer.c
        return self._list(
            rows.offer,
            c.outcome == m.OfferOutcome.OPEN,
            c.expires_at <= moment,
            order=(c.expires_at, c.id),
            limit=limit,
        )
