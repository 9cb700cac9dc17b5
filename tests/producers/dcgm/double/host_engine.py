"""A host engine without a host: what DCGM's shows a client, and each way in which it has been seen to fail.

Nothing happens by itself but time: a test injects what it wants to be seen. Blocks that last 60 and 120 seconds in
DCGM last `HANG_S` and twice as long.
"""

import ctypes
import itertools
import threading
import time
from types import SimpleNamespace

import dcgm_structs
from dcgm_structs import fail

HANG_S = 90.0  # longer than any test waits
BLANK_I64, BLANK_F64 = 0x7FFFFFFFFFFFFFF0, 2.0**47
XID = 230
DOUBLES = (155, 156, 164)
OK, LOST = 1, 4
MEMBERS = ("dbe", "pci", "mpr", "thermal", "power", "nvlink", "xid")  # of what a violation tells

ENGINES = {}  # by address
_clients = {}
_handles = itertools.count(1)


def connect(address):
    engine = ENGINES.get(address)
    if engine is not None and engine.hung.is_set():
        engine.wait(2 * HANG_S)  # and then it succeeds
        engine = ENGINES.get(address)
    if engine is None or not engine.alive:
        fail(-21)
    handle = ctypes.c_void_p(next(_handles))
    client = SimpleNamespace(engine=engine, groups={}, fields={}, watched={}, callbacks=[], health=0, checked=False)
    _clients[handle.value] = client
    engine.clients.append(client)
    return handle


def disconnect(handle):
    client = _clients.pop(handle.value, None)
    if client is not None and client in client.engine.clients:
        client.engine.clients.remove(client)  # with its groups, watches and callbacks


def of(handle):
    client = _clients.get(handle.value) if handle else None
    if client is None:
        fail(-1)
    if not client.engine.alive:
        fail(-21)
    client.engine.wait(HANG_S, then=-11)
    return client.engine, client


class Detail:
    """Of an incident; its text is decoded when it is looked at."""

    def __init__(self, message, code):
        self._message = message
        self.code = code

    @property
    def msg(self):
        return self._message.decode("utf-8") if isinstance(self._message, bytes) else self._message


class HostEngine:
    """Runs from its making until `kill`. Another one at the same address is a restart."""

    def __init__(self, gpus=2, *, address="127.0.0.1:5555", fields=range(1, 2000), links=18):
        self.address = address
        self.alive = True
        self.clients = []
        self.hung = threading.Event()
        self._resumed = threading.Event()
        self.known = set(fields)
        self.taken = 0  # names of groups of fields that other clients have, and we will hit upon
        self.driver = "580.82.07"
        self.gpus = {
            number: SimpleNamespace(
                uuid=f"GPU-{number}",
                bus=f"00000000:{0x1B + 16 * number:02X}:00.0",
                serial=f"16520220{number:05}",
                status=OK,
                mig=0,
                links=[3] * links,
            )
            for number in range(gpus)
        }
        self.instances = []  # (entity, parent, instance id, compute instance id)
        self.values = {}  # (entity, field) -> number; a tuple (status, number) tells why there is none
        self.xids = {}  # entity -> [(ts, code)] by time
        self.incidents = []
        self.policies = {}  # by GPU
        self.masked = False  # after Xid 119
        self.paused_us = None
        self.nvswitch = True
        self.refused = {}  # name of a request -> code
        for number in self.gpus:
            for field, value in {150: 40, 155: 118.5, 100: 1980, 310: 0, 311: 0}.items():
                self.values[1, number, field] = value
        ENGINES[address] = self

    # --- what a test does to it ---

    def kill(self):
        self.alive = False
        self._resumed.set()

    def restart(self):
        """The engine is another one: what was injected, every Xid and every client's groups are gone."""
        self.kill()
        other = HostEngine(len(self.gpus), address=self.address, fields=self.known)
        other.gpus, other.instances = self.gpus, self.instances
        return other

    def hang(self):
        self._resumed.clear()
        self.hung.set()

    def resume(self):
        self.hung.clear()
        self._resumed.set()

    def wait(self, seconds, then=0):
        if self.hung.is_set():
            came_back = self._resumed.wait(seconds)
            if not self.alive:
                fail(-21)
            if not came_back and then:
                fail(then)

    def inject(self, number, field, value, kind=1):
        self.values[kind, number, field] = value

    def xid(self, number, code, kind=1, ts=None):
        """It shows now; one from the kernel's log bears the time at which it happened."""
        events = self.xids.setdefault((kind, number), [])
        events.append((self.now_us() if ts is None else ts, code))
        events.sort()

    def lose(self, number):
        """Off the bus: the driver knows it no more, all its fields are blank."""
        self.gpus[number].status = LOST

    def pause(self):
        self.paused_us = self.now_us()

    def violate(self, number, condition, **told):
        """Call every client back that has registered for it, from a thread of ours."""

        def call():
            for client in list(self.clients):
                for gpu, conditions, callback in client.callbacks:
                    if gpu == number and conditions & condition and self.policies[number].condition & condition:
                        version = getattr(dcgm_structs, "c_dcgmPolicyCallbackResponse_v2", None)
                        answer = (version or dcgm_structs.c_dcgmPolicyCallbackResponse_v1)()
                        answer.condition = condition
                        member = MEMBERS[condition.bit_length() - 1]
                        for name, value in told.items():
                            setattr(getattr(answer.val, member), name, value)
                        callback(ctypes.addressof(answer))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    def now_us(self):
        return time.time_ns() // 1000

    # --- what a client asks ---

    def all_devices(self, client):
        self._may("all_devices")
        return list(self.gpus)

    def attributes(self, client, number):
        gpu = self.gpus.get(number)
        identifiers = SimpleNamespace(uuid="", pciBusId="", serial="", deviceName="", driverVersion="")
        if gpu is not None:
            identifiers = SimpleNamespace(
                uuid=gpu.uuid,
                pciBusId=gpu.bus,
                serial=gpu.serial,
                deviceName="NVIDIA H100 80GB HBM3",
                driverVersion=self.driver,
            )
        settings = SimpleNamespace(migModeEnabled=gpu.mig if gpu else 0)
        return SimpleNamespace(identifiers=identifiers, settings=settings)

    def status(self, client, number):
        return self.gpus[number].status if number in self.gpus else 0

    def topology(self, client, number):
        if len(self.gpus) < 2:
            fail(-6)
        paths = [
            SimpleNamespace(gpuId=peer, path=0x20 | 0x100 << len(gpu.links) - 1, localNvLinkIds=0)
            for peer, gpu in self.gpus.items()
            if peer != number
        ]
        rest = [SimpleNamespace(gpuId=0, path=0, localNvLinkIds=0)] * (31 - len(paths))
        return SimpleNamespace(numGpus=len(paths), gpuPaths=paths + rest)

    def hierarchy(self, client):
        rows = []
        for (kind, number), (parent_kind, parent), gi, ci in self.instances:
            info = SimpleNamespace(gpuUuid="", nvmlInstanceId=gi, nvmlComputeInstanceId=ci)
            entity = SimpleNamespace(entityGroupId=kind, entityId=number)
            rows.append(
                SimpleNamespace(
                    entity=entity, parent=SimpleNamespace(entityGroupId=parent_kind, entityId=parent), info=info
                )
            )
        return SimpleNamespace(count=len(rows), entityList=rows + [None] * 4)

    def links(self, client):
        if not self.nvswitch:
            fail(-33)
        rows = [
            SimpleNamespace(entityId=number, linkState=gpu.links + [0] * (36 - len(gpu.links)))
            for number, gpu in self.gpus.items()
        ]
        return SimpleNamespace(numGpus=len(rows), gpus=rows + [None] * 4)

    def group_create(self, client, type, name):
        if len(client.groups) >= 64:
            fail(-24)
        group = ctypes.c_void_p(1000 + len(client.groups))
        client.groups[group.value] = []  # names need not be unique
        return group

    def group_add(self, client, group, kind, number):
        if kind == 1 and self.gpus[number].status == LOST:
            fail(-18)
        client.groups[group.value].append((kind, number))

    def fields_create(self, client, ids, name):
        if self.taken:
            self.taken -= 1
            fail(-26)
        if any(name == other for each in self.clients for other, _ in each.fields.values()):
            fail(-26)
        if len(ids) > 128 or not set(ids) <= self.known:
            fail(-1)
        group = ctypes.c_void_p(2000 + len(client.fields))
        client.fields[group.value] = (name, list(ids))
        return group

    def fields_destroy(self, client, fields):
        client.fields[fields.value] = ("", [])

    def watch(self, client, group, fields, interval_us, keep_s, keep_samples):
        if not isinstance(interval_us, int):
            raise TypeError("an interval is a whole number")
        for entity in client.groups[group.value]:
            client.watched.setdefault(entity, set()).update(client.fields[fields.value][1])

    def update(self, client, wait):
        self._may("update")

    def latest(self, client, group, fields):
        self._may("latest")
        entities, ids = client.groups[group.value], client.fields[fields.value][1]
        if not entities:
            fail(-35)
        return [(entity, [self._latest(client, entity, field) for field in ids]) for entity in entities]

    def since(self, client, group, fields, since):
        ids = client.fields[fields.value][1]
        assert ids == [XID]
        for entity in client.groups[group.value]:
            new = [(XID, "i", 0, ts, code) for ts, code in self.xids.get(entity, ()) if ts >= since]
            yield entity, [self._blank(XID)] if self.masked else new or [(XID, "i", -14, 0, 0)]

    def health_set(self, client, group, systems):
        self._may("health_set")
        client.health = systems

    def health_check(self, client, group):
        self._may("health_check")
        first, client.checked = not client.checked, True
        told = [] if first else self.incidents
        rows = [
            SimpleNamespace(
                system=system,
                health=health,
                error=Detail(message, code),
                entityInfo=SimpleNamespace(entityGroupId=entity[0], entityId=entity[1]),
            )
            for entity, system, health, code, message in told
        ]
        return SimpleNamespace(incidentCount=len(rows), incidents=rows + [None] * 4)

    def policy_get(self, client, group, count, status):
        self._may("policy_get")
        (entity,) = client.groups[group.value]
        return [self.policies.get(entity[1], dcgm_structs.c_dcgmPolicy_v1())]

    def policy_set(self, client, group, policy, status):
        (entity,) = client.groups[group.value]
        self.policies[entity[1]] = policy

    def policy_register(self, client, group, conditions, callback, *_):
        for _, number in client.groups[group.value]:
            client.callbacks.append((number, conditions, callback))

    def _latest(self, client, entity, field):
        """Every requested field is there, blank or not."""
        if field not in client.watched.get(entity, ()):
            return field, "i", -16, 0, 0
        if self.masked:
            return self._blank(field)
        if field == XID:
            events = self.xids.get(entity)
            return (XID, "i", 0, *events[-1]) if events else (XID, "i", -14, 0, 0)
        if entity[0] == 1 and self.gpus[entity[1]].status == LOST:
            return self._blank(field)
        value = self.values.get((*entity, field))
        if value is None:
            return self._blank(field, not_supported=True)
        status, number = value if isinstance(value, tuple) else (0, value)
        return field, "d" if field in DOUBLES else "i", status, self.paused_us or self.now_us(), number

    def _blank(self, field, not_supported=False):
        ts = self.paused_us or self.now_us()
        if field in DOUBLES:
            return field, "d", 0, ts, BLANK_F64 + 2 * not_supported
        return field, "i", 0, ts, BLANK_I64 + 2 * not_supported

    def _may(self, request):
        if request in self.refused:
            fail(self.refused[request])
