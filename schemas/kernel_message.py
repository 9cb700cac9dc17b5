"""The fault messages of NVIDIA's kernel drivers and of Fabric Manager: one message in, one event out.

Nothing is guessed: what a message does not say is None, a message that is no fault is nothing, and one that
looks like a fault and cannot be read is an event of kind "unparsed", so that no fault is lost in silence.

The grammar is that of NVIDIA's open kernel driver 595.45.04, with the older forms that logs still hold.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Kind = Literal["xid", "sxid", "bus-loss", "identity", "unparsed"]
Severity = Literal["fatal", "non-fatal", "correctable"]


class KernelEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault that a log tells of, or (kind "identity") the UUID of the GPU at a PCI address.

    ts: ms since the epoch. node: host name, where the framing has one. bdf: as `canonical_bdf` writes it; of
    the switch for an SXid. gi, ci: MIG GPU instance and compute instance. uuid: only of kind "identity".
    message: the text without the parts that have a field of their own. previous: the Xid that caused this
    one. severity, link, switch: of an SXid; switch is the N of `nvidia-nvswitchN`, another numbering than the
    physical ids of Fabric Manager. recovery_action: of Xid 154, the new one; 0 = none needed any more.
    raw: the lines as they stood, `lines` of them.
    """

    kind: Kind
    code: int | None = None
    ts: int | None = None
    node: str | None = None
    bdf: str | None = None
    uuid: str | None = None
    gi: int | None = None
    ci: int | None = None
    pid: int | None = None
    process: str | None = None
    message: str = ""
    previous: int | None = None
    severity: Severity | None = None
    link: int | None = None
    switch: int | None = None
    recovery_action: int | None = None
    raw: str = ""
    lines: int = 1


_BDF = r"(?:PCI:)?(?:[0-9A-Fa-f]{4,8}:)[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}(?:\.[0-7])?"
_ANY_BDF = re.compile(r"(?:PCI:)?(?:([0-9A-F]{4,8}):)?([0-9A-F]{2}):([0-9A-F]{2})(\.[0-7])?", re.ASCII | re.IGNORECASE)
_UUID = r"GPU-[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_CODE = r"(?P<code>[0-9]{1,6})(?![^\s,.])"

_XID = re.compile(
    rf"NVRM: Xid \((?P<bdf>{_BDF})(?: GPU-I:(?P<gi>[0-9]{{1,4}}))?(?: GPU-CI:(?P<ci>[0-9]{{1,4}}))?\): "
    rf"{_CODE}"
)
_PID = re.compile(r"pid='?(?:(?P<pid>[0-9]{1,10})|<unknown>)'?(?:, |,?$)")
_NAME = "name="
_PREVIOUS = re.compile(r",? ?caused by previous Xid (?P<previous>[0-9]{1,6})\.?$")
_RECOVERY_ACTION = re.compile(r"changed from 0x[0-9a-fA-F]{1,8} \([^)]{0,99}\) to 0x(?P<action>[0-9a-fA-F]{1,8})")
_SXID = re.compile(rf"(?:nvidia-nvswitch(?P<switch>[0-9]{{1,4}}): )?SXid \((?P<bdf>{_BDF})\): {_CODE}")
_SEVERITY = re.compile(r"(?P<severity>Fatal|Non-fatal|Correctable)(?:, |,?$)")
_SEVERITIES: dict[str, Severity] = {"Fatal": "fatal", "Non-fatal": "non-fatal", "Correctable": "correctable"}
_LINK = re.compile(r"Link (?P<link>[0-9]{1,4})(?![0-9]) ?")
_SWITCH_ERROR = re.compile(
    r"detected NVSwitch (?P<severity>fatal|non-fatal) error (?P<code>[0-9]{1,6}) .{0,99}?"
    rf"pci bus id (?P<bdf>{_BDF})(?![0-9A-Fa-f:])(?:.{{0,99}}? port (?P<link>[0-9]{{1,4}}))?"
)
_BUS_LOSS_MARK = "fallen off the bus"
_BUS_LOSS = re.compile(rf"NVRM: (?:The NVIDIA )?GPU (?:at )?(?P<bdf>{_BDF})[\s\S]{{0,300}}?{_BUS_LOSS_MARK}")
_IDENTITY = re.compile(rf"NVRM: GPU at (?P<bdf>{_BDF}): (?P<uuid>{_UUID})(?![0-9A-Fa-f-])")

_SWITCH_ERROR_MARK = re.compile(r"detected NVSwitch (?:non-)?fatal error")
_HEADLESS_XID = re.compile(r"\bXid \(")

# A process name as the kernel keeps it has at most 15 characters, and may itself contain ", ". The messages
# that follow a name begin with these words.
_COMMAND_CHARS_MAX = 15
_MESSAGE_START = re.compile(
    r"(?:Ch|Channel|Timeout|GPU|GSP|MMU|ECC|DBE|SBE|Row|Graphics|NVLINK|Contained|Uncontained|Reset|errorString)\b"
)


def canonical_bdf(text: str) -> str | None:
    """A PCI address as `dddd:bb:dd`: lower case, domain kept (in four digits or more), no function.

    Takes all forms that drivers, NVML and DCGM print: with `PCI:` or without, a domain of 4 to 8 digits, with
    a function or without. The domain may be missing only where a function stands (`9b:00.0`: domain 0000),
    else any two numbers would do. None for anything else.
    """
    match = _ANY_BDF.fullmatch(text.strip())
    if match is None or match[1] is match[4] is None:
        return None
    return f"{int(match[1] or '0', 16):04x}:{match[2]}:{match[3]}".lower()


def parse_message(text: str) -> KernelEvent | None:
    """The first fault or identity in a message, its framing already taken off; None if it holds neither.

    Guarantees: never raises; an event is returned only where the text holds the mark of one; every field is
    text of the message. `raw` is `text`.
    """
    if "NVRM: Xid" in text:
        event = _parse_xid(text)
    elif "SXid (" in text:
        event = _parse_sxid(text)
    elif _SWITCH_ERROR_MARK.search(text):
        event = _parse_switch_error(text)
    elif "NVRM: " in text and _BUS_LOSS_MARK in text:
        event = _parse_bus_loss(text)
    elif _HEADLESS_XID.search(text):
        event = None  # its head is lost: it may as well be the end of an SXid
    elif match := _IDENTITY.search(text):
        return KernelEvent("identity", bdf=canonical_bdf(match["bdf"]), uuid=match["uuid"], raw=text)
    else:
        return None
    return event or KernelEvent("unparsed", message=text.strip(), raw=text)


def _parse_xid(text: str) -> KernelEvent | None:
    match = _XID.search(text)
    if match is None:
        return None
    rest = text[match.end() :].lstrip(" ,").rstrip()
    pid = process = previous = action = None
    if found := _PID.match(rest):
        pid = _integer(found["pid"])
        rest = rest[found.end() :]
    if rest.startswith(_NAME):
        process, rest = _split_name(rest[len(_NAME) :])
    if found := _PREVIOUS.search(rest):
        previous = int(found["previous"])
        rest = rest[: found.start()]
    code = int(match["code"])
    if code == 154 and (found := _RECOVERY_ACTION.search(rest)):
        action = int(found["action"], 16)
    return KernelEvent(
        "xid",
        code=code,
        bdf=canonical_bdf(match["bdf"]),
        gi=_integer(match["gi"]),
        ci=_integer(match["ci"]),
        pid=pid,
        process=process,
        message=rest,
        previous=previous,
        recovery_action=action,
        raw=text,
    )


def _split_name(rest: str) -> tuple[str | None, str]:
    """Part `<name>, <message>`. The first comma ends the name, unless a later one within a name's length is
    followed by what messages begin with."""
    ends = [found.start() for found in re.finditer(", ", rest[: _COMMAND_CHARS_MAX + 2])] or [rest.find(", ")]
    end = next((end for end in ends if _MESSAGE_START.match(rest, end + 2)), ends[0])
    name, message = (rest[:end], rest[end + 2 :]) if end >= 0 else (rest.rstrip(","), "")
    return (None if name in ("", "<unknown>", "'<unknown>'") else name), message


def _parse_sxid(text: str) -> KernelEvent | None:
    match = _SXID.search(text)
    if match is None:
        return None
    rest = text[match.end() :].lstrip(" ,").rstrip()
    severity = link = None
    if found := _SEVERITY.match(rest):
        severity = _SEVERITIES[found["severity"]]
        rest = rest[found.end() :]
    if found := _LINK.match(rest):
        link = int(found["link"])
        rest = rest[found.end() :]
    return KernelEvent(
        "sxid",
        code=int(match["code"]),
        bdf=canonical_bdf(match["bdf"]),
        message=rest,
        severity=severity,
        link=link,
        switch=_integer(match["switch"]),
        raw=text,
    )


def _parse_switch_error(text: str) -> KernelEvent | None:
    match = _SWITCH_ERROR.search(text)
    if match is None:
        return None
    return KernelEvent(
        "sxid",
        code=int(match["code"]),
        bdf=canonical_bdf(match["bdf"]),
        message=text[match.start() :].rstrip(),
        severity=_SEVERITIES[match["severity"].capitalize()],
        link=_integer(match["link"]),
        raw=text,
    )


def _parse_bus_loss(text: str) -> KernelEvent | None:
    match = _BUS_LOSS.search(text)
    if match is None:
        return None
    return KernelEvent("bus-loss", bdf=canonical_bdf(match["bdf"]), message=text[match.start() :].strip(), raw=text)


def _integer(text: str | None) -> int | None:
    return None if text is None else int(text)
