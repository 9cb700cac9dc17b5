"""Decisions over HTTP, for schedulers: the whole fleet, one GPU, and changes as they come.

    GET /v1/gpus                 all GPUs; ?node=, ?cluster= (repeatable) and ?below=WEIGHT choose some
    GET /v1/gpus/KEY             one GPU, by its UUID or as NODE/BDF
    GET /v1/gpus/KEY/explain     why it has its weight (`sinks.explain_http`), where the process can tell
    GET /v1/decisions/stream     server-sent events (`sinks.event_stream`)

`as_of` in an answer says how far it is current: id (to resume the stream from), offset and origin of the newest
decision in it, ts (when its cause was logged), and behind_s: for how long it may have been out of date. Before
the topic has been read to its end once, 503: half a view would take weights back in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from math import isfinite
from threading import Lock
from typing import Any, ClassVar

import msgspec
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from schemas import topics
from schemas.log import Record
from sinks.event_stream import HEARTBEAT_S, STREAM, EventStream
from sinks.explain_http import GPUS, PAGE, Explain, Explaining
from sinks.families import counter, gauge
from sinks.fleet import AsOf, Fleet
from sinks.http import Answer, Pages, Problems, Request
from sinks.shown import Shown, encode
from sinks.sink import Sink

STREAMS_MAX = 500  # a thread each
PIECE_GPUS = 200
FILTERS = ("below", "cluster", "node")
FRESH = {"Cache-Control": "no-store"}


class DecisionsSink(Sink):
    """Keeps `fleet`, which `DecisionPages` serves."""

    name = "decisions"
    topics = (topics.DECISIONS,)
    rebuilds: ClassVar[bool] = True

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        self.fleet.take(records)

    def caught_up(self) -> None:
        self.fleet.go_live()

    async def close(self) -> None:
        self.fleet.close()


class DecisionPages(Pages, Collector):
    """behind_s: for how long the view may have been out of date. Collects what it counts."""

    names = (*Pages.names, GPUS, f"{GPUS}/KEY", STREAM)

    def __init__(
        self,
        fleet: Fleet,
        behind_s: Callable[[], float],
        metrics: Callable[[], tuple[bytes, str]],
        unhealthy: Callable[[], Problems],
        unready: Callable[[], Problems],
        heartbeat_s: float = HEARTBEAT_S,
        streams_max: int = STREAMS_MAX,
        explain: Explain | None = None,
    ) -> None:
        super().__init__(metrics, unhealthy, unready)
        self._explaining = Explaining(explain) if explain else None
        if self._explaining:
            self.names = (*self.names, PAGE)
        self._fleet = fleet
        self._behind_s = behind_s
        self._heartbeat_s = heartbeat_s
        self._streams_max = streams_max
        self._lock = Lock()
        self._streams = self._dropped = 0

    def answer(self, request: Request) -> Answer:
        if not request.path.startswith("/v1/"):
            return super().answer(request)
        if self._explaining and (name := self._explaining.asked(request)) is not None:
            return self._explaining.answer(name, request)
        if not self._fleet.live:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, "the decisions are still being read", {"Retry-After": "1"})
        if request.path == GPUS:
            return self._gpus(request)
        if request.path.startswith(f"{GPUS}/"):
            return self._gpu(request.path.removeprefix(f"{GPUS}/"))
        if request.path == STREAM:
            return self._stream(request)
        return problem(HTTPStatus.NOT_FOUND, f"no such page: {request.path}; there are {', '.join(self.names)}")

    def collect(self) -> Iterator[Metric]:
        yield gauge("gpu_vitals_api_gpus", "GPUs that the API knows.", (), [((), len(self._fleet))])
        yield gauge("gpu_vitals_api_streams", "Readers of the event stream.", (), [((), self._streams)])
        yield counter(
            "gpu_vitals_api_streams_dropped",
            "Readers of the event stream that were dropped as too slow.",
            (),
            [((), self._dropped)],
        )
        yield counter(
            "gpu_vitals_api_stale_decisions",
            "Decisions left out because they were not newer than what was known.",
            (),
            [((), self._fleet.stale)],
        )

    def _gpus(self, request: Request) -> Answer:
        if unknown := sorted(request.query.keys() - set(FILTERS)):
            return problem(HTTPStatus.BAD_REQUEST, f"no such filter: {unknown[0]}; there are {', '.join(FILTERS)}")
        limits = []
        for text in request.query.get("below", []):
            if (limit := _number(text)) is None:
                return problem(HTTPStatus.BAD_REQUEST, f"below: not a weight: {text}")
            limits.append(limit)
        nodes, clusters = set(request.query.get("node", [])), set(request.query.get("cluster", []))
        as_of, gpus = self._fleet.gpus()
        chosen = [
            gpu
            for gpu in gpus
            if (not nodes or gpu.node in nodes)
            and (not clusters or gpu.cluster in clusters)
            and all(gpu.weight < limit for limit in limits)
        ]
        return Answer(HTTPStatus.OK, "application/json", list(self._listed(as_of, chosen)), FRESH)

    def _gpu(self, key: str) -> Answer:
        as_of, gpu = self._fleet.gpu(key)
        if gpu is None:
            return problem(HTTPStatus.NOT_FOUND, f"no decision about {key}; KEY is a GPU's UUID or NODE/BDF")
        return json_answer(HTTPStatus.OK, {"as_of": self._shown(as_of), "gpu": gpu})

    def _stream(self, request: Request) -> Answer:
        with self._lock:
            if self._streams >= self._streams_max:
                why = f"{self._streams_max} readers already follow the stream"
                return problem(HTTPStatus.SERVICE_UNAVAILABLE, why, {"Retry-After": "10"})
            self._streams += 1
        stream = EventStream(self._fleet, self._snapshot, self._behind_s, self._heartbeat_s, self._left)
        return Answer(HTTPStatus.OK, "text/event-stream", stream.run(request.headers.get("Last-Event-ID")), FRESH)

    def _snapshot(self) -> tuple[AsOf, Iterator[bytes]]:
        as_of, gpus = self._fleet.gpus()
        return as_of, self._listed(as_of, gpus)

    def _left(self, dropped: bool) -> None:
        with self._lock:
            self._streams -= 1
            self._dropped += dropped

    def _listed(self, as_of: AsOf, gpus: list[Shown]) -> Iterator[bytes]:
        """In pieces: a large fleet holds up the other threads for milliseconds only."""
        yield b'{"as_of":' + encode(self._shown(as_of)) + b',"gpus":['
        for first in range(0, len(gpus), PIECE_GPUS):
            yield (b"," if first else b"") + encode(gpus[first : first + PIECE_GPUS])[1:-1]
        yield b"]}\n"

    def _shown(self, as_of: AsOf) -> dict[str, Any]:
        return {
            "id": as_of.id,
            "offset": as_of.offset,
            "origin": as_of.origin,
            "ts": as_of.ts,
            "behind_s": round(self._behind_s(), 3),
        }


def json_answer(status: HTTPStatus, body: Any, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, "application/json", [msgspec.json.encode(body) + b"\n"], {**FRESH, **(headers or {})})


def problem(status: HTTPStatus, why: str, headers: dict[str, str] | None = None) -> Answer:
    return json_answer(status, {"error": status.phrase.lower(), "why": why}, headers)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None
