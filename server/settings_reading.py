"""The settings of an installation: one TOML file, then `HUIZHEN_*` variables over it, then the command line.

A variable names the path with double underscores: `HUIZHEN_SESSION__IDLE_MINUTES=30`. Lists may be written as
JSON or separated by commas. Unknown names stop start-up: a mistyped setting must never pass in silence.
"""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from server.settings import Section, Settings, SettingsError, Watch

PREFIX = "HUIZHEN_"
NO_SETTINGS = frozenset({"HUIZHEN_CONFIG", "HUIZHEN_FAULT"})
"""The name of the file itself, and the points at which durability tests kill the process (server/storage/faults.py)."""


def struct_of(annotation: Any) -> type[Section] | None:
    """The section class inside an annotation such as Annotated[Session, Meta(…)], or None."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def described(section: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """(dotted name, description, default) of every setting that is not itself a section."""
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        hint = hints[field.name]
        inner = struct_of(hint)
        if inner is not None:
            yield from described(inner, f"{prefix}{field.name}.")
            continue
        meta = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Meta)), None)
        default = None if field.default is msgspec.NODEFAULT else field.default
        yield f"{prefix}{field.name}", (meta.description if meta else None) or "", default


def load_settings(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    override: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from the TOML file (if any), variables over it, command-line values over both; SettingsError."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror or error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: {error}") from error
    merge(values, from_environment(os.environ if environment is None else environment))
    merge(values, override or {})
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=path_of)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}") from error
    ring, tell, phones = settings.deadlines.stat_escalation_minutes
    if not 0 < ring < tell < phones:
        raise SettingsError("settings: deadlines.stat_escalation_minutes must rise, from at least 1")
    check_watched(settings.watch)
    if settings.media.backend == "janus" and not Path(settings.media.janus_secret_file).is_file():
        raise SettingsError("settings: media.janus_secret_file must name a file with Janus' api_secret")
    for network in settings.trusted_proxies:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise SettingsError(f"settings: trusted_proxies: {network} is no address and no network") from error
    return settings


def check_watched(watch: Watch) -> None:
    """Absolute folders, none inside another: else a file would belong to two. Raises SettingsError."""
    folders = [watched.folder for watched in watch.folders]
    for n, folder in enumerate(folders):
        if not folder.is_absolute():
            raise SettingsError(f"settings: watch.folders: {folder} is no absolute path")
        if any(folder == other or other in folder.parents for m, other in enumerate(folders) if m != n):
            raise SettingsError(f"settings: watch.folders: {folder} lies inside another watched folder")


def path_of(kind: type, value: Any) -> Any:
    """TOML and variables write a path as text."""
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise NotImplementedError


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Nested values of all `HUIZHEN_*` variables but NO_SETTINGS."""
    values: dict[str, Any] = {}
    lists = {name for name, _, default in described() if isinstance(default, tuple)}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name in NO_SETTINGS:
            continue
        *parents, leaf = name.removeprefix(PREFIX).lower().split("__")
        value: Any = text
        if ".".join([*parents, leaf]) in lists:
            value = list_value(name, text)
        table = values
        for parent in parents:
            table = table.setdefault(parent, {})
        table[leaf] = value
    return values


def list_value(name: str, text: str) -> list[Any]:
    """A list from JSON or from comma-separated text."""
    if not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error
    return list(value)


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay `over` on `base`, table by table."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value
