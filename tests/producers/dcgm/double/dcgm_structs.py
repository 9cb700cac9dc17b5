"""The double of DCGM's `dcgm_structs`: the structures that cross the memory, in their order, and the errors."""

# ruff: noqa: N801, N802, N803, N816 - the names are DCGM's

import ctypes
import string

DCGM_ST = {
    "BADPARAM": -1,
    "NOT_SUPPORTED": -6,
    "UNINITIALIZED": -10,
    "TIMEOUT": -11,
    "UNKNOWN_FIELD": -13,
    "NO_DATA": -14,
    "NOT_WATCHED": -16,
    "NO_PERMISSION": -17,
    "GPU_IS_LOST": -18,
    "CONNECTION_NOT_VALID": -21,
    "MAX_LIMIT": -24,
    "LIBRARY_NOT_FOUND": -25,
    "DUPLICATE_KEY": -26,
    "REQUIRES_ROOT": -29,
    "MODULE_NOT_LOADED": -33,
    "GROUP_IS_EMPTY": -35,
}
WORDS = {
    -1: "Bad parameter passed to function",
    -11: "Timeout",
    -21: "The connection to the host engine is not valid any longer",
    -25: "DCGM library could not be found",
    -33: "This request is serviced by a module of DCGM that is not currently loaded",
}


class DCGMError(Exception):
    def __init__(self, value):
        super().__init__(value)
        self.value = value

    def __str__(self):
        return WORDS.get(self.value, f"DCGM Error with code {self.value}")

    def __eq__(self, other):
        return self.value == other.value  # as it is: what has no value cannot be compared

    def __hash__(self):
        return hash(self.value)


CLASSES = {}
for _name, _value in DCGM_ST.items():
    globals()[f"DCGM_ST_{_name}"] = _value
    _class = type("DCGMError_" + string.capwords(_name, "_").replace("_", ""), (DCGMError,), {})
    CLASSES[_value] = globals()[_class.__name__] = _class

LIBRARY = True  # whether libdcgm is there


def fail(code):
    raise CLASSES[code](code)


def _dcgmInit(libDcgmPath=None):
    if not LIBRARY:
        fail(-25)


class c_dcgmConnectV2Params_v2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint) for name in ("version", "persistAfterDisconnect", "timeoutMs", "addressIsUnixSocket")
    ]


c_dcgmConnectV2Params_version = ctypes.sizeof(c_dcgmConnectV2Params_v2) | 2 << 24


class _Number(ctypes.Union):
    _fields_ = [("i64", ctypes.c_int64), ("dbl", ctypes.c_double), ("blob", ctypes.c_byte * 4096)]


class c_dcgmFieldValue_v1(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint),
        ("fieldId", ctypes.c_ushort),
        ("fieldType", ctypes.c_short),
        ("status", ctypes.c_int),
        ("ts", ctypes.c_int64),
        ("value", _Number),
    ]


class _Limit(ctypes.Union):
    _fields_ = [("boolean", ctypes.c_bool), ("llval", ctypes.c_longlong)]


class _Parameter(ctypes.Structure):
    _fields_ = [("tag", ctypes.c_uint), ("val", _Limit)]


class c_dcgmPolicy_v1(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint),
        ("condition", ctypes.c_uint),
        ("ways", ctypes.c_uint * 5),  # mode, isolation, action, validation, response
        ("parms", _Parameter * 7),
    ]


dcgmPolicy_version1 = ctypes.sizeof(c_dcgmPolicy_v1) | 1 << 24


def _told(*numbers):
    return type("_Told", (ctypes.Structure,), {"_fields_": [("timestamp", ctypes.c_longlong), *numbers]})


class _Told(ctypes.Union):
    _fields_ = [
        ("dbe", _told(("location", ctypes.c_int), ("numerrors", ctypes.c_uint))),
        ("pci", _told(("counter", ctypes.c_uint))),
        ("mpr", _told(("sbepages", ctypes.c_uint), ("dbepages", ctypes.c_uint))),
        ("thermal", _told(("thermalViolation", ctypes.c_uint))),
        ("power", _told(("powerViolation", ctypes.c_uint))),
        ("nvlink", _told(("fieldId", ctypes.c_ushort), ("counter", ctypes.c_uint))),
        ("xid", _told(("errnum", ctypes.c_uint))),
    ]


class c_dcgmPolicyCallbackResponse_v1(ctypes.Structure):
    """3.x: it does not name the GPU."""

    _fields_ = [("version", ctypes.c_uint), ("condition", ctypes.c_int), ("val", _Told)]


class c_dcgmPolicyCallbackResponse_v2(ctypes.Structure):
    _fields_ = [*c_dcgmPolicyCallbackResponse_v1._fields_, ("gpuId", ctypes.c_uint)]
