"""What the message of an Xid changes: each rule with lines as drivers print them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.fault_terms import XidResponse
from schemas.kernel_message import parse_message
from schemas.xid import CATALOG, lookup, respond
from schemas.xid_message import read

MAYBE_MILDER = {*range(144, 151), 154}  # a whole message that we know may ask for less
ECC_140 = "An uncorrectable ECC error detected (possible firmware handling failure) "

# What follows "NVRM: Xid (PCI:0000:9b:00): ", the response, and what is shown.
LINES: dict[str, tuple[str, dict[str, str | int]]] = {
    # 94, 95: the driver's verdict on a reset
    "94, pid=12, name=python3, Contained: SM (0x1,0x3). RST: No, D-RST: No": (
        "monitor",
        {"unit": "SM", "reset_required": "no", "drain_and_reset": "no"},
    ),
    "94, pid='<unknown>', name=<unknown>, Contained: DRAM (0x3, 0x0). physAddr: 0x0c5e9a80 RST: No, D-RST: Yes": (
        "evict",
        {"unit": "DRAM", "address": "0x0c5e9a80", "reset_required": "no", "drain_and_reset": "yes"},
    ),
    "94, Contained: LTC (0x1,0x2). RST: Yes, D-RST: No": (
        "evict",
        {"unit": "LTC", "reset_required": "yes", "drain_and_reset": "no"},
    ),
    "94, pid=7, name=x, Contained: CE User Channel (0x9). RST: maybe": ("monitor", {"unit": "CE User Channel"}),
    "94, pid=7, name=x, Ch 00000012": ("monitor", {}),
    "95, pid=7, name=x, Uncontained: FBHUB. RST: No, D-RST: No": (
        "evict",
        {"unit": "FBHUB", "reset_required": "no", "drain_and_reset": "no"},
    ),
    # 119, 120: the response is a reset whatever they say
    "119, pid=1240590, name=gpud, Timeout after 6s of waiting for RPC response from GPU4 GSP! Expected function 76 "
    "(GSP_RM_CONTROL) (0x20803032 0x58c).": (
        "evict",
        {"waited_s": 6, "function": 76, "function_name": "GSP_RM_CONTROL"},
    ),
    "119, pid=33, name=python3, Timeout waiting for RPC from GSP0! Expected function 103 (GSP_RM_ALLOC) (0x80 0x38).": (
        "evict",
        {"function": 103, "function_name": "GSP_RM_ALLOC"},
    ),
    "120, GSP task timeout @ pc:0x4e37e8b, task: 1": ("evict", {"pc": "0x4e37e8b", "task": 1}),
    "120, something new": ("evict", {}),
    # 140: counts of uncorrectable errors; all 0 = only the poison interrupt was pending
    f"140, {ECC_140}DRAM:2, LTC:0, MMU:0, PCIE:0": ("evict", {"dram": 2, "ltc": 0, "mmu": 0, "pcie": 0}),
    f"140, pid='<unknown>', name=<unknown>, {ECC_140}DRAM:0, LTC:0, MMU:0, PCIE:0": (
        "evict",
        {"dram": 0, "ltc": 0, "mmu": 0, "pcie": 0},
    ),
    f"140, {ECC_140}DRAM:-1840700393, LTC:0, MMU:0, PCIE:0": (
        "evict",
        {"dram": -1840700393, "ltc": 0, "mmu": 0, "pcie": 0},
    ),
    # 154: the recovery action, and its clearing
    "154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)": (
        "evict",
        {"action": "GPU Reset Required", "action_before": "None"},
    ),
    "154, pid=7, name=x, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x2 (Node Reboot Required)": (
        "remove_node",
        {"action": "Node Reboot Required", "action_before": "GPU Reset Required"},
    ),
    "154, GPU recovery action changed from 0x4 (Drain and Reset) to 0x0 (None)": (
        "monitor",
        {"action": "None", "action_before": "Drain and Reset"},
    ),
    "154, GPU recovery action changed from 0x0 (None) to 0x9 (Reseat the Board)": (
        "degrade",
        {"action": "Reseat the Board", "action_before": "None"},
    ),
    "154, GPU recovery action is another now": ("degrade", {}),
    # 74: registers 1, 3, 4, 5
    "74, pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link 6"
    "(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)": (
        "degrade",
        {"link": 6, "register 1 bit 16": "perhaps hardware: check and reseat the link, then diagnose"},
    ),
    "74, NVLink: fatal error detected on link 14(0x0, 0x0, 0x10000, 0x40000, 0x0, 0x0, 0x0)": (
        "evict",
        {
            "link": 14,
            "register 3 bit 16": "run the field diagnostic if it repeats",
            "register 4 bit 18": "usually the echo of another fault; the fabric needs a reset",
        },
    ),
    "74, NVLink: fatal error detected on link 1(0x1, 0x2, 0x0, 0x0, 0x100000, 0x0, 0x0)": (
        "degrade",
        {
            "link": 1,
            "register 1 bit 0": "harmless",
            "register 2 bit 1": "not described: report it",
            "register 5 bit 20": "many corrected errors; goes on, diagnose when convenient",
        },
    ),
    "74, NVLink: fatal error detected on link 2": ("degrade", {}),
    # 144 to 150, drivers before R575
    "149, NETIR_LINK_EVT Fatal   XC0 i0 Link 00 (0x004505c6 0x00000000 0x00000000 0x00000000 0x00000000)": (
        "evict",
        {
            "component": "NETIR_LINK_EVT",
            "severity": "fatal",
            "link": 0,
            "decoded": "NETIR_LINK_EVT",
            "layout": "before R575",
            "action": "RESET_GPU",
            "investigate": "INVESTIGATE_LINK_SI",
        },
    ),
    "145, RLW_SRC_TRACK Nonfatal XC1 i0 Link 12 (0x040988e2 0x00000008 0x00000000 0x00000000 0x00000000)": (
        "degrade",
        {
            "component": "RLW_SRC_TRACK",
            "severity": "nonfatal",
            "link": 12,
            "decoded": "RLW_SRC_TRACK",
            "layout": "before R575",
            "action": "XID_154_EVAL",
            "investigate": "IGNORE",
        },
    ),
    # from R575 on; the table asks for a reset although the driver prints Nonfatal
    "145, RLW_REMAP Nonfatal XC1 i0 Link 10 (0x00000004 0x00000040 0x00000000 0x00000000 0x00000000 0x00000000)": (
        "evict",
        {
            "component": "RLW_REMAP",
            "severity": "nonfatal",
            "link": 10,
            "decoded": "RLW_REMAP",
            "layout": "from R575",
            "action": "RESET_GPU",
            "investigate": "CONTACT_SUPPORT",
        },
    ),
    "144, SAW_MVB Nonfatal XC0 i1 Link -1 (0x00000001 0x00000004)": (
        "monitor",
        {
            "component": "SAW_MVB",
            "severity": "nonfatal",
            "injected": "yes",
            "decoded": "SAW_MVB",
            "layout": "from R575",
            "action": "IGNORE",
            "investigate": "IGNORE",
        },
    ),
    "149, NETIR_LINK_DOWN Nonfatal XC1 i2 Link 17 (0xdeadbeef)": (
        "degrade",
        {"component": "NETIR_LINK_DOWN", "severity": "nonfatal", "link": 17, "injected": "yes"},
    ),
    "148, NVLPW_CTRL Fatal XC0 i0 Link 05": (
        "evict",
        {"component": "NVLPW_CTRL", "severity": "fatal", "link": 5},
    ),
    "146, TLW_CTRL Nonfatal, garbled": ("degrade", {}),
    "146, TLW_CTRL Fatal, garbled": ("evict", {}),
    # messages that only inform
    "13, pid=7, name=x, Graphics SM Warp Exception on (GPC 3, TPC 0, SM 1): Out Of Range Address": (
        "monitor",
        {"gpc": 3, "tpc": 0, "sm": 1},
    ),
    "160, Marking Channel 3 in FBPA 2 along with its pair for repair. Perform node reboot to activate repair.": (
        "lower_score",
        {"part": "Channel 3 in FBPA 2", "activated_by": "node reboot"},
    ),
    "175, GPU memory subsystem timeout (type 2) detected": ("degrade", {"type": 2}),
}


@pytest.mark.parametrize("line", LINES)
def test_what_a_line_asks_for_and_says(line: str) -> None:
    event = parse_message(f"NVRM: Xid (PCI:0000:9b:00): {line}")
    assert event is not None
    assert event.code is not None
    response, details = LINES[line]
    assert respond(event.code, event.message, event.recovery_action) == response
    assert read(event.code, event.message).details == details


@pytest.mark.parametrize(
    ("action", "response"),
    [
        (0, "monitor"),
        (1, "evict"),
        (2, "remove_node"),
        (3, "evict"),
        (4, "evict"),
        (5, "degrade"),
        (6, "evict"),
        (7, "remove_node"),
        (8, "degrade"),
        (None, "degrade"),
    ],
)
def test_154_does_what_its_message_says_and_an_unreadable_action_is_one(action: int | None, response: str) -> None:
    assert respond(154, recovery_action=action) == response


def test_of_number_and_words_that_disagree_the_graver_holds() -> None:
    message = "GPU recovery action changed from 0x0 (None) to {}"
    assert respond(154, message.format("0x0 (Node Reboot Required)")) == "remove_node"
    assert respond(154, message.format("0x1 (None)")) == "evict"
    assert respond(154, message.format("0x9 (Drain P2P)")) == "evict"


def test_an_nvlink_error_evicts_if_fatal_and_is_never_ignored_unread() -> None:
    assert respond(149, "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x1)") == "evict"
    assert respond(145, "RLW_REMAP Nonfatal XC1 i0 Link 03 (0x1)") == "degrade"
    assert respond(150, "") == "degrade"
    assert respond(79, "x Fatal y") == "remove_node"


texts = st.one_of(
    st.text(max_size=200),
    st.builds(
        lambda line, cut, more: line.partition(", ")[2][:cut] + more,
        st.sampled_from([*LINES]),
        st.integers(0, 200),
        st.text(max_size=30),
    ),
)


@given(st.one_of(st.sampled_from([*CATALOG]), st.integers()), texts, st.text(max_size=12))
def test_no_message_raises_or_makes_a_fault_milder(code: int, message: str, driver: str) -> None:
    response = respond(code, message, driver=driver)
    if code not in MAYBE_MILDER:
        assert response.gravity >= lookup(code).response.gravity


@given(st.sampled_from([*MAYBE_MILDER]), st.text(alphabet="abcXYZ 0x()", max_size=80))
def test_text_that_no_rule_knows_is_never_no_action(code: int, message: str) -> None:
    assert respond(code, message).gravity >= XidResponse.DEGRADE.gravity
