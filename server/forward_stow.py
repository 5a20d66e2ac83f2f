"""Instances to a STOW-RS service (PS3.18 §10.5) over HTTPS: one request for a lot, streamed from the packs."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from dicom.errors import DicomError
from dicom.web import closing, part_head

CONNECT_SECONDS = 15.0
IDLE_SECONDS = 120.0
_ANSWER_LIMIT = 8 << 20
_ALL_STORED = frozenset({200, 204})
_ANSWERED = frozenset({200, 202, 409})
# What is about this request and not about the way there: one instance of it may be to blame.
_ABOUT_IT = frozenset({400, 411, 413, 415, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One instance: `open` gives its part-10 file chunk by chunk, and may be asked again."""

    sop_uid: str
    open: Callable[[], Awaitable[AsyncIterator[bytes]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a lot. `error`: the code of what stopped it; what is in neither list was not answered for.

    `named`: those of `sent` that the answer itself names, where others went with a bare success.
    """

    sent: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)  # SOP Instance UID → code
    error: str = ""


def may_go_to(url: str) -> bool:
    """HTTPS, or plain HTTP on this machine; without user, query and fragment: a token goes in its own field."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username or parts.password or parts.query or parts.fragment or not url.isascii():
        return False
    if any(c.isspace() for c in url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_own(host))


def _is_own(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def tls_for(ca: str) -> ssl.SSLContext:
    """Certificates and host names are checked: against the system's authorities, or against `ca` (PEM) alone.

    Raises ssl.SSLError where `ca` holds no certificate.
    """
    context = ssl.create_default_context(cadata=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def send_stow(url: str, token: str, ca: str, parts: Sequence[Part]) -> Outcome:
    """Send one lot; where the service refuses the request as such, each instance by itself."""
    try:
        context = await asyncio.to_thread(tls_for, ca)
    except ssl.SSLError:
        return Outcome(error="bad_ca")
    headers = {"Accept": "application/dicom+json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with ClientSession(timeout=timeout, headers=headers) as session:
        post = partial(_post, session, f"{url.rstrip('/')}/studies", context)
        outcome = await post(parts)
        if len(parts) == 1 or outcome.error not in {f"http_{status}" for status in _ABOUT_IT}:
            return outcome
        whole = Outcome()
        for part in parts:
            alone = await post([part])
            if alone.error and not alone.refused:
                return replace(whole, error=alone.error)
            whole = Outcome(
                sent=whole.sent + alone.sent, named=whole.named + alone.named,
                refused={**whole.refused, **alone.refused},
            )  # fmt: skip
        return whole


async def _post(session: ClientSession, url: str, context: ssl.SSLContext, parts: Sequence[Part]) -> Outcome:
    boundary = secrets.token_hex(16)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    loop = asyncio.get_running_loop()
    unreadable: dict[str, str] = {}
    try:
        async with asyncio.timeout(IDLE_SECONDS) as patience:
            def progress() -> None:
                patience.reschedule(loop.time() + IDLE_SECONDS)

            async with session.post(
                url, data=_body(parts, boundary, progress, unreadable), headers={"Content-Type": kind}, ssl=context,
                allow_redirects=False,
            ) as answer:  # fmt: skip
                progress()
                return await _read(answer, parts)
    except TimeoutError:
        return Outcome(error="timeout")
    except ssl.SSLError:
        return Outcome(error="tls")
    except (ClientError, OSError, asyncio.IncompleteReadError) as error:
        if unreadable:
            return Outcome(refused=unreadable)  # it was our end that stopped; the others come in the next lot
        broken = isinstance(error.__cause__ or error, ssl.SSLError) or "ssl" in type(error).__name__.lower()
        return Outcome(error="tls" if broken else "unreachable")


async def _body(
    parts: Sequence[Part], boundary: str, progress: Callable[[], None], unreadable: dict[str, str]
) -> AsyncIterator[bytes]:
    for number, part in enumerate(parts):
        # The file's own meta names its transfer syntax; a part that says it too is passed over by Orthanc's plugin 1.7.
        yield part_head(boundary, "application/dicom", first=number == 0)
        try:
            async for chunk in await part.open():
                yield chunk
                progress()
        except DicomError as error:
            unreadable[part.sop_uid] = error.reason
            raise
    yield closing(boundary)
    progress()


async def _read(answer: ClientResponse, parts: Sequence[Part]) -> Outcome:
    """The service's own word for each instance (PS3.18 Table 10.5.3-2, §I.2)."""
    everyone = tuple(part.sop_uid for part in parts)
    if answer.status not in _ANSWERED | _ALL_STORED:
        code = f"http_{answer.status}"
        alone = len(parts) == 1 and answer.status in _ABOUT_IT
        return Outcome(error=code, refused={everyone[0]: code} if alone else {})
    raw = bytearray()
    async for chunk in answer.content.iter_chunked(64 << 10):
        raw += chunk
        if len(raw) > _ANSWER_LIMIT:
            return Outcome(error="bad_answer")
    if not raw:
        return Outcome(sent=everyone) if answer.status in _ALL_STORED else Outcome(error=f"http_{answer.status}")
    try:
        said = json.loads(bytes(raw))
        said = said[0] if isinstance(said, list) else said
        stored = {uid for uid, _ in _items(said, "00081199")}
        failed = {uid: f"reason_{reason:04x}" for uid, reason in _items(said, "00081198")}
    except (ValueError, TypeError, LookupError, AttributeError):
        return Outcome(error="bad_answer")
    sent = tuple(uid for uid in everyone if uid in stored)
    refused = {uid: failed[uid] for uid in everyone if uid in failed and uid not in stored}
    error = "" if len(sent) + len(refused) == len(everyone) else "bad_answer"
    return Outcome(sent=sent, named=sent, refused=refused, error=error)


def _items(said: Mapping[str, Any], tag: str) -> list[tuple[str, int]]:
    """(Referenced SOP Instance UID, Failure Reason) of a sequence in DICOM JSON."""
    found = []
    for item in said.get(tag, {}).get("Value", []):
        reason = item.get("00081197", {}).get("Value", [0])[0]
        found.append((str(item["00081155"]["Value"][0]), int(reason)))
    return found
