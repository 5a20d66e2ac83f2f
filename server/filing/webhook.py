"""The hospital's own pager: urgent and STAT offers are told to one address, without patient data.

What to tell is derived from the open offers themselves under a fixed id, so nothing is lost or told twice by us,
whatever dies when; the receiver may still get a call twice after a lost answer and goes by `id`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from consult import model as m
from consult.errors import NotFound
from consult.ringing import unanswered
from server.settings import Webhook
from server.storage.outbox import Delivery
from server.storage.unit import SqlUnitOfWork
from server.work import Work

KIND = "offer"
OFFERED, UNANSWERED = "offer", "unanswered"
"""What a call tells: an offer was made; an emergency has not been accepted for minutes (STAT alone)."""
PAGED = frozenset({m.Urgency.URGENT, m.Urgency.STAT})
FRESH = timedelta(minutes=15)          # an offer that is older when the pager is switched on is no news
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
_FAR = timedelta(days=3650)


def enqueue_offers(uow: SqlUnitOfWork, *, url: str) -> int:
    """Puts every fresh open offer that is urgent into the outbox, once, and once more when an emergency has found no
    answer for long; returns how many were new.
    """
    new = 0
    for offer in uow.offers.expired(uow.now + _FAR, limit=1000):
        consultation = uow.consultations.get(offer.consultation)
        if consultation.urgency not in PAGED or offer.made_at < uow.now - FRESH:
            continue
        late = unanswered(consultation, offer, uow.rules, uow.now)
        for event in (OFFERED, UNANSWERED) if late else (OFFERED,):
            name = f"{event}:{offer.id}"
            if _known(uow, name):
                continue
            payload = _call(uow, consultation, offer) | {"event": event, "id": name}
            uow.outbox.add(
                Delivery(id=name, kind=KIND, target=url, payload=payload, created_at=uow.now, next_at=uow.now)
            )
            new += 1
    return new


def _known(uow: SqlUnitOfWork, id: str) -> bool:
    try:
        uow.outbox.get(id)
    except NotFound:
        return False
    return True


def _call(uow: SqlUnitOfWork, consultation: m.Consultation, offer: m.Offer) -> dict[str, Any]:
    """Ids, organisations, service and urgency: what a pager shows, and nothing of the patient."""
    return {
        "consultation": consultation.id,
        "number": consultation.number,
        "urgency": consultation.urgency.value,
        "service": consultation.service.value,
        "specialty": offer.specialty,
        "organisation": uow.people.organisation(offer.organisation).name,
        "from": uow.people.organisation(consultation.organisation).name,
        "membership": offer.membership,
        "made_at": offer.made_at.isoformat(),
        "expires_at": offer.expires_at.isoformat(),
    }


def signature(secret: str, body: bytes) -> str:
    """The header X-Huizhen-Signature: `sha256=` and HMAC-SHA256 of the body's bytes, hexadecimal."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _due(uow: SqlUnitOfWork) -> list[Delivery]:
    return list(uow.outbox.due(uow.now, kind=KIND))


def _settle(uow: SqlUnitOfWork, *, delivery: Delivery, error: str) -> None:
    if not error:
        uow.outbox.sent(delivery.id)
        return
    offer = uow.offers.get(m.OfferId(delivery.id.partition(":")[2]))
    if offer.outcome is not m.OfferOutcome.OPEN:
        uow.outbox.again(delivery.id, at=None, error="offer_closed")
        return
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(delivery.attempts, 10))
    at: datetime = uow.now + pause
    uow.outbox.again(delivery.id, at=at, error=error)


async def page_offers(work: Work, webhook: Webhook) -> int:
    """Tells what is due; a failure is tried again while the offer is open. Returns how many calls were answered."""
    if not webhook.url:
        return 0
    await work.run(enqueue_offers, url=webhook.url)
    done = 0
    due = await work.read(_due)
    if not due:
        return 0
    async with ClientSession(timeout=ClientTimeout(total=webhook.timeout_seconds)) as session:
        for delivery in due:
            error = await _post(session, webhook, delivery.payload)
            await work.run(_settle, delivery=delivery, error=error)
            done += not error
    return done


async def _post(session: ClientSession, webhook: Webhook, payload: Mapping[str, Any]) -> str:
    """An error code, empty when the receiver answered 2xx. Its answer is not read."""
    body = json.dumps(dict(payload), ensure_ascii=False, sort_keys=True).encode()
    headers = {"Content-Type": "application/json", "X-Huizhen-Signature": signature(webhook.secret, body)}
    try:
        async with session.post(webhook.url, data=body, headers=headers, allow_redirects=False) as answer:
            return "" if 200 <= answer.status < 300 else f"http_{answer.status}"
    except TimeoutError:
        return "timeout"
    except (ClientError, OSError, asyncio.IncompleteReadError):
        return "unreachable"
