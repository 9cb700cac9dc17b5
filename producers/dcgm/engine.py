"""One connection to a host engine: what can be asked of it, with errors that say what to do. Every call may block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, NamedTuple

from producers.dcgm.bindings import Bindings
from producers.dcgm.values import Collector, Entity, Values
from producers.source import SourceError
from schemas import sources

PORT = 5555
CONNECT_MS = 3000
EMPTY_GROUP = 1
KEEP_S, KEEP_SAMPLES = 3600.0, 3600
NAMES_TRIED = 8
ALL_SYSTEMS = 0xFFFF_FFFF

BAD_PARAMETER, TIMEOUT, UNINITIALIZED, UNKNOWN_FIELD, NO_PERMISSION = -1, -11, -10, -13, -17
GPU_IS_LOST, CONNECTION_NOT_VALID, GPU_NOT_SUPPORTED, DUPLICATE_KEY = -18, -21, -22, -26
REQUIRES_ROOT, MODULE_NOT_LOADED = -29, -33
CONNECTION_GONE = (TIMEOUT, UNINITIALIZED, CONNECTION_NOT_VALID)
FIXES = {
    CONNECTION_NOT_VALID: "start the host engine (systemctl start nvidia-dcgm), or name its address",
    TIMEOUT: "see what the kernel says of the driver, and restart the host engine (systemctl restart nvidia-dcgm)",
    NO_PERMISSION: "run the host engine as root",
    REQUIRES_ROOT: "run the host engine as root",
    MODULE_NOT_LOADED: "have the host engine load that module: see its option --denylist-modules",
}
CAUSES = {
    CONNECTION_NOT_VALID: sources.ENGINE_DOWN,
    UNINITIALIZED: sources.ENGINE_DOWN,
    TIMEOUT: sources.HUNG,
    NO_PERMISSION: sources.PERMISSION,
    REQUIRES_ROOT: sources.PERMISSION,
    GPU_IS_LOST: sources.LOST,
}


class EngineError(SourceError):
    """The engine refused or could not. code: DCGM's."""

    def __init__(self, what: str, error: Any) -> None:
        self.code: int = error.value
        fix = FIXES.get(self.code)
        words = f"{what}: {str(error).rstrip('.').lower()} (DCGM {self.code})" + (f"; {fix}" if fix else "")
        super().__init__(words, cause=CAUSES.get(self.code, ""))

    @property
    def connection_gone(self) -> bool:
        """Nothing more can be had over this connection."""
        return self.code in CONNECTION_GONE


class Address(NamedTuple):
    """Where an engine listens: HOST:PORT, or the path of a socket."""

    text: str

    @classmethod
    def parse(cls, target: str) -> Address:
        """target: as a user writes it, "" = this machine."""
        if target.startswith("/"):
            return cls(target)
        host, _, port = target.rpartition(":") if ":" in target else (target, "", "")
        host = host or "127.0.0.1"
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise SourceError(
                f"{target!r} is no address of a host engine; one is written HOST:{PORT} or /PATH/OF/SOCKET"
            )
        return cls(f"{host}:{port or PORT}")

    @property
    def socket(self) -> bool:
        return self.text.startswith("/")

    @property
    def local(self) -> bool:
        """The engine runs on this machine."""
        return self.socket or self.text.rpartition(":")[0] in ("127.0.0.1", "localhost")


class Engine:
    """Connects when it is made. A name that it gives to the engine is this connection's own."""

    def __init__(self, bindings: Bindings, address: Address) -> None:
        self.bindings = bindings
        self.address = address
        self._agent = bindings.agent
        self._collector = Collector(bindings.agent, bindings.structs)
        self._lock = threading.Lock()
        structs = bindings.structs
        wanted = structs.c_dcgmConnectV2Params_v2()
        wanted.version = structs.c_dcgmConnectV2Params_version
        wanted.persistAfterDisconnect = 0  # the engine forgets what we made once we are gone
        wanted.timeoutMs = CONNECT_MS
        wanted.addressIsUnixSocket = int(address.socket)
        with self._telling("cannot connect"):
            self._handle: Any = self._agent.dcgmConnect_v2(address.text, wanted)

    def disconnect(self) -> None:
        """Let go of everything that was made here, on the engine's side too; works twice."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(self.bindings.error):  # the engine is not there any more: so nothing is left there
                self._agent.dcgmDisconnect(handle)

    # --- what there is ---

    def gpus(self) -> list[int]:
        with self._telling("cannot list the GPUs"):
            return list(self._agent.dcgmGetAllDevices(self._handle))

    def attributes(self, gpu: int) -> Any:
        with self._telling(f"cannot read the attributes of GPU {gpu}"):
            return self._agent.dcgmGetDeviceAttributes(self._handle, gpu)

    def status(self, gpu: int) -> int:
        with self._telling(f"cannot read the status of GPU {gpu}"):
            return int(self._agent.dcgmGetGpuStatus(self._handle, gpu))

    def topology(self, gpu: int) -> Any:
        with self._telling(f"cannot read the topology of GPU {gpu}"):
            return self._agent.dcgmGetDeviceTopology(self._handle, gpu)

    def instances(self) -> Any:
        with self._telling("cannot list the MIG instances"):
            return self._agent.dcgmGetGpuInstanceHierarchy(self._handle)

    def links(self) -> Any:
        with self._telling("cannot read the NVLinks"):
            return self._agent.dcgmGetNvLinkLinkStatus(self._handle)

    # --- watching ---

    def group(self, name: str, entities: Iterable[Entity]) -> tuple[Any, list[Entity]]:
        """A group of these entities, and those that cannot be in it: lost ones, and unsupported ones."""
        with self._telling("cannot make a group"):
            group = self._agent.dcgmGroupCreate(self._handle, EMPTY_GROUP, name)
        left_out = []
        for kind, number in entities:
            try:
                with self._telling(f"cannot watch entity {kind}/{number}"):
                    self._agent.dcgmGroupAddEntity(self._handle, group, kind, number)
            except EngineError as error:
                if error.code not in (GPU_IS_LOST, GPU_NOT_SUPPORTED, BAD_PARAMETER):
                    raise
                left_out.append((kind, number))
        return group, left_out

    def fields(self, fields: Sequence[int], names: Iterator[str]) -> Any:
        """A group of fields. names: tried one after the other, for other clients' names are taken, too."""
        for name in islice(names, NAMES_TRIED):
            try:
                with self._telling("cannot make a group of fields"):
                    return self._agent.dcgmFieldGroupCreate(self._handle, list(fields), name)
            except EngineError as error:
                if error.code != DUPLICATE_KEY:
                    raise
        raise SourceError("cannot make a group of fields: other clients of the host engine have taken every name tried")

    def known_fields(self, fields: Sequence[int], names: Iterator[str]) -> list[int]:
        """Those of `fields` that the engine knows: it refuses a group for one unknown member, and says not which."""
        if not fields:
            return []
        try:
            group = self.fields(fields, names)
        except EngineError as error:
            if error.code not in (BAD_PARAMETER, UNKNOWN_FIELD):
                raise
            middle = len(fields) // 2
            if not middle:
                return []
            return self.known_fields(fields[:middle], names) + self.known_fields(fields[middle:], names)
        with self._telling("cannot remove a group of fields"):
            self._agent.dcgmFieldGroupDestroy(self._handle, group)
        return list(fields)

    def watch(self, group: Any, fields: Any, interval_s: float) -> None:
        with self._telling("cannot watch the fields"):
            self._agent.dcgmWatchFields(self._handle, group, fields, int(1e6 * interval_s), KEEP_S, KEEP_SAMPLES)

    def update(self) -> None:
        """Take every watched value now."""
        with self._telling("cannot take the first samples"):
            self._agent.dcgmUpdateAllFields(self._handle, 1)

    def latest(self, group: Any, fields: Any) -> Values:
        with self._telling("cannot read the fields"):
            self._agent.dcgmGetLatestValues_v2(self._handle, group, fields, self._collector.callback, None)
        return self._collector.take()

    def since(self, group: Any, fields: Any, ts: int) -> Values:
        """All samples that the engine still has from `ts` (us) on."""
        with self._telling("cannot read the events"):
            self._agent.dcgmGetValuesSince_v2(self._handle, group, fields, ts, self._collector.callback, None)
        return self._collector.take()

    # --- health and policies ---

    def watch_health(self, group: Any) -> None:
        with self._telling("cannot set the health watches"):
            self._agent.dcgmHealthSet(self._handle, group, ALL_SYSTEMS)

    def health(self, group: Any) -> Any:
        with self._telling("cannot read the health watches"):
            return self._agent.dcgmHealthCheck(self._handle, group)

    def policy(self, group: Any) -> Any:
        """The policy of a group of one GPU."""
        with self._telling("cannot read the policy"):
            return self._agent.dcgmPolicyGet(self._handle, group, 1, None)[0]

    def set_policy(self, group: Any, policy: Any) -> None:
        with self._telling("cannot set the policy"):
            self._agent.dcgmPolicySet(self._handle, group, policy, None)

    def register(self, group: Any, conditions: int, callback: Callable[..., Any]) -> None:
        """callback: a C function; must live as long as the process."""
        with self._telling("cannot register for policy violations"):
            if hasattr(self._agent, "dcgmPolicyRegister_v2"):
                self._agent.dcgmPolicyRegister_v2(self._handle, group, conditions, callback, None)
            else:  # 3.x: one for the violation, one for the end of an action, of which there is none
                self._agent.dcgmPolicyRegister(self._handle, group, conditions, callback, None)

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except self.bindings.error as error:
            raise EngineError(f"host engine at {self.address.text}: {what}", error) from error
