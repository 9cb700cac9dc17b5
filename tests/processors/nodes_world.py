"""Nodes that do orders as agents do: fenced, each once; and a way there and back that does its worst.

Commands come late, doubled and out of order, and so do their answers; what an agent has done it has done once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.records import CommandResult, Eviction, Order

DUE_MS = 600_000 + 300_000 + 120_000  # the longest that an order may take until its answer has come, if one comes
CONCLUDES = ("done", "failed", "refused", "dry-run", "indeterminate", "cancelled")
PROVES_NOTHING = ("signature", "key", "node", "repeated")


@dataclass
class Agent:
    """One node's. known: what became of each id. done: ids in the order in which their tool was run."""

    node: str
    boot: int = 1
    sequence: int = 0
    known: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def take(self, order: Order, uuid: str, ts: int, ends: tuple[str, str]) -> list[CommandResult]:
        """Do it, or refuse. ends: state and reason, if it is done."""
        state, reason = self._decide(order, ts)
        says = [(state, reason)] if state else [("started", ""), ends]
        if state != "refused" or reason not in PROVES_NOTHING:
            self.known[order.id] = says[-1][0]
        if not state:
            self.sequence = order.sequence
            self.done.append(order.id)
        return [
            CommandResult(ts=ts, node=self.node, id=order.id, action=order.action, state=one, reason=why, uuid=uuid)
            for one, why in says
        ]

    def cancel(self, id_: str, ts: int) -> list[CommandResult]:
        if id_ in self.known:
            return []  # too late: refused under the id of the cancelling command
        self.known[id_] = "cancelled"
        return [CommandResult(ts=ts, node=self.node, id=id_, action="", state="cancelled")]

    def _decide(self, order: Order, ts: int) -> tuple[str, str]:
        if order.id in self.known:
            return "refused", "repeated"
        if order.boot != f"{self.node}/{self.boot}":
            return "refused", "boot"
        if order.sequence <= self.sequence:
            return "refused", "sequence"
        return ("refused", "expired") if ts > order.expires else ("", "")


@dataclass
class Given:
    """An order as it was given: to which GPU, for which of its cases, when."""

    order: Order
    gpu: str
    opened: int
    at_ms: int
    concluded: bool = False


class Watch:
    """Reads `evictions` as a commander does, and holds what it reads against what must never happen."""

    def __init__(self, node_of: dict[str, str], boots: dict[str, Agent]) -> None:
        self.node_of = node_of
        self.agents = boots
        self.given: dict[str, Given] = {}
        self.cancelled: dict[str, str] = {}  # id -> GPU
        self.closed: dict[str, int] = {}  # the newest case of each GPU that was over
        self._sequence: dict[str, int] = {}

    def read(self, gpu: str, eviction: Eviction, now_ms: int) -> tuple[Order | None, str]:
        """Whether there is a new order, or a new cancellation."""
        assert eviction.step is not None
        if eviction.step == "in-service":
            assert eviction.order is None, "a case that is over asks nobody for anything"
            self.closed[gpu] = max(self.closed.get(gpu, 0), eviction.opened)
        else:
            assert eviction.opened > self.closed.get(gpu, 0), "a case that was over goes on"
        cancel = ""
        if eviction.cancel and eviction.cancel not in self.cancelled:
            assert eviction.cancel in self.given, "something that nobody has ordered is taken back"
            self.cancelled[eviction.cancel] = gpu
            cancel = eviction.cancel
        order = eviction.order
        if order is None:
            return None, cancel
        assert order.id not in self.cancelled, "what was taken back is ordered"
        known = self.given.get(order.id)
        if known is not None:
            assert (known.order, known.gpu, known.opened) == (order, gpu, eviction.opened), "one id, two orders"
            return None, cancel
        node = self.node_of[gpu]
        for other in self.given.values():
            if other.gpu == gpu and other.order.boot == order.boot:
                assert other.concluded or now_ms >= other.at_ms + DUE_MS - 240_000, "two orders outstanding"
        assert order.sequence > self._sequence.get(node, 0), "the sequence of a node's orders rises"
        assert order.boot == f"{node}/{self.agents[node].boot}", "an order for another boot"
        assert now_ms < order.expires <= now_ms + 600_000
        self._sequence[node] = order.sequence
        self.given[order.id] = Given(order, gpu, eviction.opened, now_ms)
        return order, cancel

    def heard(self, result: CommandResult) -> None:
        """An answer is about to reach the stage."""
        given = self.given.get(result.id)
        proof = result.state in CONCLUDES and not (result.state == "refused" and result.reason in PROVES_NOTHING)
        if given is not None and proof and result.node == self.node_of[given.gpu]:
            given.concluded = True
