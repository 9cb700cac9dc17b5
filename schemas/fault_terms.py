"""The words that the catalogues of Xids and SXids are written in: how bad, of which class, what to do."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How bad a fault is, mildest first; `UNKNOWN` = nobody has told us."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
    FATAL = "fatal"
    UNKNOWN = "unknown"


class XidResponse(StrEnum):
    """What the pipeline does when it sees the code, mildest first.

    monitor: counts it. lower_score: caps the score for a time. degrade: the same, and marks the GPU degraded.
    evict, evict_permanently: takes the GPU out, to be repaired or replaced. remove_node: takes the node out.
    follow_message: the message names the action (see `respond`).
    """

    MONITOR = "monitor"
    LOWER_SCORE = "lower_score"
    DEGRADE = "degrade"
    EVICT = "evict"
    EVICT_PERMANENTLY = "evict_permanently"
    REMOVE_NODE = "remove_node"
    FOLLOW_MESSAGE = "follow_message"

    @property
    def gravity(self) -> int:
        return _BY_GRAVITY.index(self)


_BY_GRAVITY = tuple(XidResponse)


class FaultClass(StrEnum):
    """What failed; faults of one class and one GPU may be one incident.

    application: a program did what it must not; the GPU is well. driver: kernel driver and its bookkeeping.
    firmware: the small controllers of the GPU, but for gsp, its system processor. memory: DRAM, caches, their
    error correction, and units set aside for it. bus: PCIe and what crosses it. info: no fault. unused: no
    driver of today prints it, and nobody has said what it meant. other: none of these, or not known.
    """

    APPLICATION = "application"
    DRIVER = "driver"
    FIRMWARE = "firmware"
    GSP = "gsp"
    MEMORY = "memory"
    BUS = "bus"
    NVLINK = "nvlink"
    C2C = "c2c"
    THERMAL = "thermal"
    POWER = "power"
    VIDEO = "video"
    DISPLAY = "display"
    SECURITY = "security"
    INFO = "info"
    UNUSED = "unused"
    OTHER = "other"


class NvidiaAction(StrEnum):
    """What NVIDIA says to do, by NVIDIA's own names for it; `NONE` = NVIDIA names nothing.

    The names are those of the Xid catalogue; RESET_ALL, RESET_BY_SCOPE, RESTART_HOST and CHECK_COOLING are ours,
    for advice on NVSwitch faults that NVIDIA gives in sentences.
    """

    NONE = ""
    IGNORE = "IGNORE"
    IGNORE_SYMPATHETIC = "IGNORE (sympathetic)"
    INFORMATIONAL = "N/A (informational)"
    RESTART_APP = "RESTART_APP"
    RESTART_VM = "RESTART_VM"
    RESTART_FM_IF_SOLO = "RESTART_FM if solo"
    RESET_GPU = "RESET_GPU"
    RESTART_BM = "RESTART_BM"
    RESET_ALL = "RESET_ALL"
    RESET_BY_SCOPE = "RESET_BY_SCOPE"
    RESTART_HOST = "RESTART_HOST"
    CONTACT_SUPPORT = "CONTACT_SUPPORT"
    REPORT_IF_DAILY = "REPORT_ISSUE if > 1 a day"
    SYMPATHETIC_REPORT_SOLO = "SYMPATHETIC_REPORT_SOLO"
    CHECK_APP = "CHECK_APP/CUDA"
    CHECK_MECHANICALS = "CHECK_MECHANICALS"
    CHECK_COOLING = "CHECK_COOLING"
    CHECK_UVM = "CHECK_UVM"
    CHECK_NVLINK_FAILURE_FLOW = "CHECK_NVLINK_FAILURE_FLOW"
    UPDATE_SWFW = "UPDATE_SWFW"
    INVESTIGATE_SW = "INVESTIGATE_SW"
    INVESTIGATE_SW_USER = "INVESTIGATE_SW_USER"
    INVESTIGATE_SW_USER_LINK_SI = "INVESTIGATE_SW_USER_LINK_SI"
    INVESTIGATE_LINK_SI = "INVESTIGATE_LINK_SI"
    INVESTIGATE_LINK_SI_AND_CABLES = "INVESTIGATE_LINK_SI_AND_CABLES"
    INVESTIGATE_PEER_DEVICE = "INVESTIGATE_PEER_DEVICE"
    INVESTIGATE_HOST = "INVESTIGATE_HOST"
    WORKFLOW_XID_13 = "WORKFLOW_XID_13"
    WORKFLOW_XID_31 = "WORKFLOW_XID_31"
    WORKFLOW_XID_45 = "WORKFLOW_XID_45"
    WORKFLOW_XID_48 = "WORKFLOW_XID_48"
    WORKFLOW_NVLINK_ERR = "WORKFLOW_NVLINK_ERR"
    WORKFLOW_NVLINK5_ERR = "WORKFLOW_NVLINK5_ERR"
    XID_137_FLOW = "XID_137_FLOW"
    XID_154 = "XID_154"
    XID_154_EVAL = "XID_154_EVAL"

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    NvidiaAction.NONE: "NVIDIA names no action",
    NvidiaAction.IGNORE: "nothing to do",
    NvidiaAction.IGNORE_SYMPATHETIC: "follows another fault: mend that one; alone, report it",
    NvidiaAction.INFORMATIONAL: "tells of another fault; act on that one",
    NvidiaAction.RESTART_APP: "restart the application; neither reset nor reboot is needed",
    NvidiaAction.RESTART_VM: "restart the virtual machine that owns the GPU",
    NvidiaAction.RESTART_FM_IF_SOLO: "alone: restart Fabric Manager; beside another Xid: follow that one",
    NvidiaAction.RESET_GPU: "reset the GPU",
    NvidiaAction.RESTART_BM: "reboot the machine",
    NvidiaAction.RESET_ALL: "reset all GPUs and all NVSwitches of the node",
    NvidiaAction.RESET_BY_SCOPE: "link to a GPU: reset the GPUs of that job; link between switches: reset them all",
    NvidiaAction.RESTART_HOST: "reboot the host, or reset all switches and GPUs over PCIe",
    NvidiaAction.CONTACT_SUPPORT: "ask the vendor's support",
    NvidiaAction.REPORT_IF_DAILY: "report it if it comes more than once a day",
    NvidiaAction.SYMPATHETIC_REPORT_SOLO: "usually follows another fault: mend that one; alone, report it",
    NvidiaAction.CHECK_APP: "look at the application: bad data, or CUDA used wrongly",
    NvidiaAction.CHECK_MECHANICALS: "check that the board is seated and its cables are tight",
    NvidiaAction.CHECK_COOLING: "check the cooling",
    NvidiaAction.CHECK_UVM: "reset the GPU if unified memory or vGPU is in use, else nothing",
    NvidiaAction.CHECK_NVLINK_FAILURE_FLOW: "a link of the partition went down within 30 s: mend that; else report it",
    NvidiaAction.UPDATE_SWFW: "update driver, firmware and guest software",
    NvidiaAction.INVESTIGATE_SW: "look for a fault in the application or the driver",
    NvidiaAction.INVESTIGATE_SW_USER: "find out which software or person did it, if it was not meant",
    NvidiaAction.INVESTIGATE_SW_USER_LINK_SI: "find out who took the link down; else check the link's signal",
    NvidiaAction.INVESTIGATE_LINK_SI: "check the link's signal from its telemetry",
    NvidiaAction.INVESTIGATE_LINK_SI_AND_CABLES: "check signal, cable, transceiver, temperature and seating",
    NvidiaAction.INVESTIGATE_PEER_DEVICE: "look at the device at the other end of the link",
    NvidiaAction.INVESTIGATE_HOST: "look at the host's other logs: this is an echo of something done there",
    NvidiaAction.WORKFLOW_XID_13: "same GPC and TPC again: diagnose the GPU; otherwise look at the application",
    NvidiaAction.WORKFLOW_XID_31: "same GPU again: diagnose it; different GPUs: look at the application",
    NvidiaAction.WORKFLOW_XID_45: "alone: restart Fabric Manager; beside another Xid: follow that one",
    NvidiaAction.WORKFLOW_XID_48: "alone: reset; with 63 or 64: drain, then reset; SRAM: see the threshold flag",
    NvidiaAction.WORKFLOW_NVLINK_ERR: "decode the registers of the message",
    NvidiaAction.WORKFLOW_NVLINK5_ERR: "decode IntrInfo and error status of the message",
    NvidiaAction.XID_137_FLOW: "look for an illegal peer access of the application; no such: report it",
    NvidiaAction.XID_154: "do what the message says",
    NvidiaAction.XID_154_EVAL: "do what the Xid 154 beside it says; without one, restart the application",
}
assert _MEANINGS.keys() == set(NvidiaAction), "every action has a meaning"
