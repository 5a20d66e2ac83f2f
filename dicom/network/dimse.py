"""DIMSE command sets (PS3.7 §6.3, Annex E): always implicit little endian, group 0000, one short unit."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dicom.network.pdu import PduError

C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
N_EVENT_REPORT, N_GET, N_SET, N_ACTION, N_CREATE, N_DELETE = 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150
C_CANCEL = 0x0FFF
RESPONSE = 0x8000
NO_DATASET, DATASET = 0x0101, 0x0001
SUCCESS, PENDING, PENDING_WARNING, CANCELLED = 0x0000, 0xFF00, 0xFF01, 0xFE00

_NAMES: Final[Mapping[int, tuple[str, str]]] = {
    0x0002: ("affected_class", "UI"),
    0x0003: ("requested_class", "UI"),
    0x0100: ("field", "US"),
    0x0110: ("message", "US"),
    0x0120: ("responded", "US"),
    0x0600: ("destination", "AE"),
    0x0700: ("priority", "US"),
    0x0800: ("dataset", "US"),
    0x0900: ("status", "US"),
    0x0902: ("comment", "LO"),
    0x0903: ("error", "US"),
    0x1000: ("affected_instance", "UI"),
    0x1001: ("requested_instance", "UI"),
    0x1002: ("event_type", "US"),
    0x1008: ("action_type", "US"),
    0x1020: ("remaining", "US"),
    0x1021: ("completed", "US"),
    0x1022: ("failed", "US"),
    0x1023: ("warning", "US"),
    0x1030: ("originator", "AE"),
    0x1031: ("originator_message", "US"),
}
_NUMBERS: Final[Mapping[str, tuple[int, str]]] = {name: (tag, vr) for tag, (name, vr) in _NAMES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command set by the names of `_NAMES`; what is absent reads as 0 or ''."""

    context: int
    values: Mapping[str, int | str] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """A US value, 0 if absent."""
        value = self.values.get(name, 0)
        return value if isinstance(value, int) else 0

    def text(self, name: str) -> str:
        """A UI, AE or LO value, '' if absent."""
        value = self.values.get(name, "")
        return value if isinstance(value, str) else ""

    @property
    def field(self) -> int:
        return self.number("field")

    @property
    def message(self) -> int:
        return self.number("message")

    @property
    def has_dataset(self) -> bool:
        return self.values.get("dataset", NO_DATASET) != NO_DATASET

    @property
    def sop_class(self) -> str:
        return self.text("affected_class") or self.text("requested_class")

    @property
    def sop_instance(self) -> str:
        return self.text("affected_instance") or self.text("requested_instance")


def decode_command(context: int, data: bytes) -> Command:
    """A command set. Elements we do not use are skipped. Raises PduError."""
    values: dict[str, int | str] = {}
    position = 0
    while position < len(data):
        if len(data) - position < 8:
            raise PduError("a command element is cut")
        group, number, length = struct.unpack_from("<HHI", data, position)
        position += 8
        if group != 0 or length > len(data) - position:
            raise PduError("no command set")
        value = data[position : position + length]
        position += length
        known = _NAMES.get(number)
        if known is None:
            continue
        name, vr = known
        if vr == "US":
            if length < 2:
                if length:
                    raise PduError("a command number is cut")
                continue
            values[name] = int.from_bytes(value[:2], "little")
        else:
            values[name] = value.decode("ascii", "replace").strip(" \x00")[:1024]
    if "field" not in values:
        raise PduError("a command without Command Field")
    return Command(context=context, values=values)


def encode_command(values: Mapping[str, int | str]) -> bytes:
    """The command set with its group length."""
    body = b""
    for number, name, vr in sorted((_NUMBERS[name][0], name, _NUMBERS[name][1]) for name in values):
        value = values[name]
        if vr == "US":
            raw = struct.pack("<H", int(value))
        else:
            raw = str(value).encode("ascii", "replace")
            if len(raw) % 2:
                raw += b"\x00" if vr == "UI" else b" "
        body += struct.pack("<HHI", 0, number, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def response_to(
    command: Command,
    status: int,
    *,
    dataset: bool = False,
    comment: str = "",
    more: Mapping[str, int | str] | None = None,
) -> dict[str, int | str]:
    """The values of the response to `command` with `status` (PS3.7 §9.3, §10.3)."""
    values: dict[str, int | str] = {
        "field": command.field | RESPONSE,
        "responded": command.message,
        "dataset": DATASET if dataset else NO_DATASET,
        "status": status,
    }
    if command.sop_class:
        values["affected_class"] = command.sop_class
    if command.sop_instance:
        values["affected_instance"] = command.sop_instance
    if comment:
        values["comment"] = comment[:64]
    return {**values, **(more or {})}
