"""Opens the DICOM ports with the server and closes them before the archive."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from dicom.model import IngestResult
from dicom.network.scp import Listener
from dicom.network.services import SERVICES, warm
from dicom.network.terms import NetworkLimits
from server import keys
from server.dicomweb.ports import ARCHIVE, STORED
from server.dimse.backend import House, Matcher
from server.dimse.fetching import Fetcher
from server.dimse.forwarding import Forwarder, sweep
from server.dimse.reporting import EVERY_SECONDS, report_commitments
from server.filing.running import follow
from server.letting_go import LETTING_GO
from server.settings import Dimse, SettingsError

LOG = logging.getLogger("huizhen.dimse")
DEMO_PORT = 11112
DIMSE: web.AppKey[Listener] = web.AppKey("dimse")
HOUSE: web.AppKey[House] = web.AppKey("dimse_house")
FORWARDER: web.AppKey[Forwarder] = web.AppKey("forwarder")
FETCHER: web.AppKey[Fetcher] = web.AppKey("fetcher")
SWEEP_SECONDS = 3600.0
DIMSE_PORTS: web.AppKey[list[int]] = web.AppKey("dimse_ports")
"""The numbers of the ports that are open, plain first."""


def prepare(app: web.Application) -> None:
    """Put the listener together; it opens its ports when the application starts."""
    settings, archive, work = app[keys.SETTINGS], app[ARCHIVE], app[keys.WORK]
    given = settings.dimse
    matcher = Matcher(archive, work, app[keys.TASKS])
    app[STORED] = matcher.told
    house = House(
        work, archive, matcher, titles=given.titles, zone=app[keys.ZONE],
        tls=lambda: outgoing_context(given), ready=app[keys.ARCHIVE_STARTED].wait if app[keys.BACKGROUND] else None,
    )
    app[HOUSE] = house
    refusals = app[keys.METRICS].dimse_refused
    app[DIMSE] = Listener(
        house, archive, services=SERVICES, limits=limits_of(given),
        refused=lambda reason: refusals.labels(reason).inc(),
    )  # fmt: skip
    app[DIMSE_PORTS] = []
    app[FETCHER] = Fetcher(work, archive, house, app[keys.TASKS], limits_of(given))
    app[FORWARDER] = forwarder = Forwarder(
        work, archive, house, limits_of(given), keys=settings.key_folder,
        figure=app[keys.METRICS].forward_waiting.set,
    )  # fmt: skip
    counted = archive.told

    def told(result: IngestResult) -> None:
        counted(result)
        if result.outcome == "stored":
            forwarder.told()

    archive.told = told
    app.cleanup_ctx.append(ports)
    app.cleanup_ctx.append(forwarding)


async def forwarding(app: web.Application) -> AsyncIterator[None]:
    """The queue is filled and emptied as long as the server runs."""
    tasks, started = app[keys.TASKS], app[keys.ARCHIVE_STARTED]

    async def run() -> None:
        await started.wait()
        await app[FORWARDER].run()

    if app[keys.BACKGROUND]:
        tasks.keep("forward", run)
        tasks.every("sweep_forwards", SWEEP_SECONDS, lambda: forget_ended(app))
    yield
    await app[FORWARDER].close()


async def forget_ended(app: web.Application) -> int:
    """Old rows of the queue; none where they prove what may be let go, and go with it."""
    return 0 if LETTING_GO in app else await app[keys.WORK].run(sweep)


def limits_of(given: Dimse) -> NetworkLimits:
    """The bounds of the settings."""
    return NetworkLimits(
        max_pdu=given.max_pdu_kb << 10,
        artim_seconds=given.artim_seconds,
        idle_seconds=given.idle_seconds,
        max_associations=given.max_associations,
        max_per_address=given.max_per_address,
    )


async def ports(app: web.Application) -> AsyncIterator[None]:
    """Open what the settings name. SettingsError where that cannot be; the demo's own port may be taken."""
    given, listener = app[keys.SETTINGS].dimse, app[DIMSE]
    wanted: list[tuple[int, ssl.SSLContext | None]] = [(given.port, None)] if given.port else []
    if given.tls_port:
        wanted.append((given.tls_port, tls_context(given)))
    demo = app[keys.SETTINGS].demo and not wanted and app[keys.BACKGROUND]
    if wanted or demo:
        app[keys.TASKS].once("warm_dimse", asyncio.to_thread(warm))
    for number, context in wanted or ([(DEMO_PORT, None)] if demo else []):
        try:
            app[DIMSE_PORTS].append(await listener.listen(given.host, number, context))
        except OSError as error:
            if not demo:
                await listener.close()
                raise SettingsError(f"dimse: cannot listen on {given.host}:{number}: {error.strerror}") from error
            LOG.warning("no DICOM network: port %d: %s", number, error.strerror)
    open_ports, background = app[DIMSE_PORTS], app[keys.BACKGROUND]
    if open_ports and background:
        app[keys.TASKS].keep("report_commitments", lambda: follow(
            app[keys.HUB], "commitment", EVERY_SECONDS,
            lambda: report_commitments(app[keys.WORK], app[ARCHIVE], app[HOUSE], limits_of(given)),
        ))  # fmt: skip
    yield
    await listener.close()


def tls_context(given: Dimse) -> ssl.SSLContext:
    """TLS in which the device shows a certificate too (PS3.15 §B.9: BCP 195). SettingsError without the files."""
    if not (given.certificate and given.key and given.client_ca):
        raise SettingsError("dimse.tls_port needs dimse.certificate, dimse.key and dimse.client_ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(Path(given.certificate), Path(given.key))
        context.load_verify_locations(Path(given.client_ca))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"dimse: the files of tls_port cannot be read: {error}") from error
    return context


def outgoing_context(given: Dimse) -> ssl.SSLContext:
    """TLS towards devices: they are known by the same authorities, and not by their host name (PS3.15 §B.9)."""
    if not (given.certificate and given.key and given.client_ca):
        raise SettingsError("an encrypted device needs dimse.certificate, dimse.key and dimse.client_ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    try:
        context.load_cert_chain(Path(given.certificate), Path(given.key))
        context.load_verify_locations(Path(given.client_ca))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"dimse: the files for TLS cannot be read: {error}") from error
    return context
