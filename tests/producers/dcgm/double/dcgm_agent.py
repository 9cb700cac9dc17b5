"""The double of DCGM's `dcgm_agent`: its flat functions, answered by the engines of `host_engine`."""

# ruff: noqa: N802, N816 - the names are DCGM's

import ctypes

import dcgm_structs
import host_engine

dcgmFieldValueEntityEnumeration_f = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.c_uint32,
    ctypes.c_uint32,
    ctypes.POINTER(dcgm_structs.c_dcgmFieldValue_v1),
    ctypes.c_int32,
    ctypes.c_void_p,
)


def dcgmInit():
    return 0


def dcgmStartEmbedded(*_):
    raise AssertionError("an engine inside the agent")


def dcgmConnect_v2(address, wanted, version=dcgm_structs.c_dcgmConnectV2Params_version):
    assert wanted.version == version
    assert not wanted.persistAfterDisconnect
    assert bool(wanted.addressIsUnixSocket) is address.startswith("/")
    return host_engine.connect(address)


def dcgmDisconnect(handle):
    host_engine.disconnect(handle)


def dcgmGetLatestValues_v2(handle, group, fields, callback, user):
    engine, client = host_engine.of(handle)
    _enumerate(engine.latest(client, group, fields), callback)


def dcgmGetValuesSince_v2(handle, group, fields, since, callback, user):
    engine, client = host_engine.of(handle)
    _enumerate(engine.since(client, group, fields, since), callback)
    return engine.now_us()


def _enumerate(rows, callback):
    for (kind, number), values in rows:
        memory = (dcgm_structs.c_dcgmFieldValue_v1 * len(values))()
        for raw, (field, type, status, ts, value) in zip(memory, values, strict=True):
            raw.fieldId, raw.fieldType, raw.status, raw.ts = field, ord(type), status, ts
            if type == "d":
                raw.value.dbl = value
            else:
                raw.value.i64 = value
        assert callback(kind, number, memory, len(values), None) == 0


def _asks(name):
    def ask(handle, *arguments):
        engine, client = host_engine.of(handle)
        return getattr(engine, name)(client, *arguments)

    return ask


dcgmGetAllDevices = _asks("all_devices")
dcgmGetDeviceAttributes = _asks("attributes")
dcgmGetGpuStatus = _asks("status")
dcgmGetDeviceTopology = _asks("topology")
dcgmGetGpuInstanceHierarchy = _asks("hierarchy")
dcgmGetNvLinkLinkStatus = _asks("links")
dcgmGroupCreate = _asks("group_create")
dcgmGroupAddEntity = _asks("group_add")
dcgmFieldGroupCreate = _asks("fields_create")
dcgmFieldGroupDestroy = _asks("fields_destroy")
dcgmWatchFields = _asks("watch")
dcgmUpdateAllFields = _asks("update")
dcgmHealthSet = _asks("health_set")
dcgmHealthCheck = _asks("health_check")
dcgmPolicyGet = _asks("policy_get")
dcgmPolicySet = _asks("policy_set")
dcgmPolicyRegister_v2 = _asks("policy_register")
