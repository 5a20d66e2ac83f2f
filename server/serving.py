"""Listening: the server process from its first line on the console to its last."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import logging
import os
import signal
import ssl
import stat
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from server import keys, logs
from server.app import create_app
from server.dimse.demo import register_demo_devices
from server.dimse.running import DIMSE_PORTS
from server.settings import Settings, SettingsError

LOG = logging.getLogger("huizhen.server")
# One time-out bounds an idle connection and a request whose headers never end (aiohttp waits for both alike).
IDLE_SECONDS = 30.0
SHUTDOWN_SECONDS = 5.0
ARENAS = 2                  # glibc would give each thread its own, and none gives back what it took (mallopt(3))
_M_ARENA_MAX = -8
READ_AHEAD = 256 << 10      # bytes of a body taken before its reader has asked; one read of a socket gives as many
YOUNG_OBJECTS = 20_000      # Python's own number is 700; a cycle of as many lives on for a few megabytes at most
LONGEST_SOCKET = 100        # sun_path holds 108 bytes (unix(7))
DEMO_NAMES = ("clinic", "expert", "tech")
Say = Callable[[str], None]


def serve(settings: Settings, say: Say) -> int:
    """Run until SIGINT or SIGTERM; 1 with a sentence when it cannot listen."""
    tune_process()
    logs.configure(settings.logs.level, settings.logs.format)
    make_data_folder(settings)
    return asyncio.run(listen(settings, say))


def tune_process() -> None:
    """Before there are threads: they share their memory."""
    with suppress(AttributeError, OSError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def make_data_folder(settings: Settings) -> None:
    """The data folder, for its owner alone; SettingsError when it cannot be made or written."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"{settings.data}: the data folder cannot be made: {error.strerror or error}") from error
    if not os.access(settings.data, os.W_OK | os.X_OK):
        raise SettingsError(f"{settings.data}: this user may not write the data folder")


def runner_of(app: web.Application) -> web.AppRunner:
    """The runner with our bounds: no inflated bodies, no access lines of aiohttp's own, headers in time."""
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
        handle_signals=False,
        max_line_size=8190,
        max_field_size=8190,
        max_headers=100,
        read_bufsize=READ_AHEAD,
    )


async def listen(settings: Settings, say: Say) -> int:
    """Start everything, tell the addresses, wait for the signal, stop in order."""
    stop = stop_signal()
    context = tls_context(settings)
    app = create_app(settings)
    async with AsyncExitStack() as ending:
        runner = await started(app, ending)
        site = web.TCPSite(runner, settings.host, settings.port, ssl_context=context, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            say(cannot_listen(settings, error))
            return 1
        port = int(runner.addresses[0][1])
        await open_control(app, ending)
        if trust := await start_trust(settings, port):
            ending.push_async_callback(trust.cleanup)
        if settings.demo:
            await seed_demo(app, say)
            await register_demo_devices(app)
        tell(app, settings, port, say, root_page=trust is not None)
        if settings.demo:
            await tell_demo(app, say)
        rest_memory()
        await stop.wait()
        return 0


def stop_signal() -> asyncio.Event:
    """Set by SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    return stop


async def started(app: web.Application, ending: AsyncExitStack) -> web.AppRunner:
    """The application set up, with no address yet; `ending` takes it down, last of all."""
    runner = runner_of(app)
    ending.push_async_callback(runner.cleanup)
    await runner.setup()
    return runner


async def open_control(app: web.Application, ending: AsyncExitStack) -> None:
    """The local socket, until `ending`."""
    if control := await start_control(app):
        ending.callback(app[keys.SETTINGS].control_socket.unlink, missing_ok=True)
        ending.push_async_callback(control.cleanup)


def rest_memory() -> None:
    """What has been built by now lives as long as the process: the collector need not walk through it again and again,
    holding up whoever asks at that moment (a tenth of a second on a small machine). What waits for two thousand sockets
    is young at every moment, since every message makes it anew: a round of the young over it takes 10 ms, so it comes
    only when that many objects have really been added.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Nothing, the local CA's certificate, or the files of the settings."""
    if settings.tls.mode == "off":
        return None
    # cryptography is a tenth of the start-up time: only those who encrypt wait for it.
    from server.tls import lan_certificate, lan_names, server_context

    if settings.tls.mode == "files":
        return server_context(Path(settings.tls.certificate), Path(settings.tls.key))
    made = lan_certificate(settings.data / "tls", lan_names())
    return server_context(made.chain, made.key)


def cannot_listen(settings: Settings, error: OSError) -> str:
    """Why not, and what to do."""
    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"huizhen: another program already listens on {where}. Stop it, or choose another port: "
            f"--port {settings.port + 1} (make run PORT={settings.port + 1})."
        )
    if error.errno == errno.EACCES:
        return f"huizhen: not allowed to listen on {where}. Choose a port above 1023: --port 8080."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"huizhen: this machine has no address {settings.host}. Use --host 127.0.0.1 or --host 0.0.0.0."
    return f"huizhen: cannot listen on {where}: {error.strerror or error}"


async def start_control(app: web.Application) -> web.AppRunner | None:
    """The local socket for commands of a second process; only the owner of the data folder can open it."""
    from server.control import control_app

    path = app[keys.SETTINGS].control_socket
    if len(str(path).encode()) > LONGEST_SOCKET:
        LOG.warning("control socket left out: the path of the data folder is too long")
        return None
    with suppress(OSError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    control = web.AppRunner(control_app(app), access_log=None)
    await control.setup()
    await web.UnixSite(control, str(path)).start()
    path.chmod(0o600)
    return control


async def start_trust(settings: Settings, port: int) -> web.AppRunner | None:
    """The plain page with the root certificate, on the next port; None without a CA of ours or with the port taken."""
    if settings.tls.mode != "lan":
        return None
    from server.trusting import trust_app

    trust = web.AppRunner(
        trust_app(settings, settings.data / "tls" / "root.crt", port), access_log=None, keepalive_timeout=IDLE_SECONDS
    )
    await trust.setup()
    try:
        await web.TCPSite(trust, settings.host, port + 1).start()
    except (OSError, OverflowError) as error:
        LOG.warning("no page for the root certificate: port %d: %s", port + 1, error)
        await trust.cleanup()
        return None
    return trust


async def seed_demo(app: web.Application, say: Say) -> None:
    """Fill an empty installation with the demo city (server/demo, another room of the house)."""
    if find_spec("server.demo") is None:
        LOG.warning("this build has no demo city")
        return
    await import_module("server.demo").seed(app, say)


async def tell_demo(app: web.Application, say: Say) -> None:
    """Who lives in the demo city and what to try first."""
    if find_spec("server.demo") is None:
        return
    for line in await import_module("server.demo").describe(app):
        say(f"  {line}".rstrip())
    say("")


def tell(app: web.Application, settings: Settings, port: int, say: Say, *, root_page: bool = False) -> None:
    """Addresses for people, and what to do first."""
    scheme = "http" if settings.tls.mode == "off" else "https"
    suffix = "" if port == {"http": 80, "https": 443}[scheme] else f":{port}"
    open_to_all = settings.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    host = "localhost" if open_to_all or settings.host in {"127.0.0.1", "::1"} else settings.host
    around: tuple[str, ...] = ()
    if open_to_all:
        from server.tls import network_addresses

        around = network_addresses()
    say("")
    say(f"  Huizhen 会诊    {scheme}://{host}{suffix}/")
    if settings.demo and host == "localhost":
        for name in DEMO_NAMES:
            say(f"                  {scheme}://{name}.localhost{suffix}/")
    for address in around:
        say(f"  on the network  {scheme}://{address}{suffix}/")
    if settings.tls.mode == "lan":
        from server.trusting import fingerprint

        root = settings.data / "tls" / "root.crt"
        for address in (around or (host,)) if root_page else ():
            say(f"  trust it first  http://{address}:{port + 1}/  (once on each device: the root certificate)")
        say(f"                  or copy {root}")
        marks = fingerprint(root)
        say(f"  its SHA-256     {marks[:47]}")
        say(f"                  {marks[48:]}")
    for number in app[DIMSE_PORTS]:
        say(f"  DICOM           {settings.dimse.host}:{number}   called AE title {settings.dimse.titles[0]}")
    for url in settings.public_urls:
        say(f"  public          {url}")
    if code := app[keys.SETUP_CODE]:
        say(f"  first set-up    {scheme}://{host}{suffix}/setup   code {code[0]}")
    say("  stop with Ctrl-C")
    say("")
