"""Explanations over HTTP: `GET /v1/gpus/KEY/explain`, KEY as `gpu-vitals explain` takes it; JSON, or ?format=text.

One is made at a time, in the server's own thread: it reads a log, and a crowd that asks shall not slow that log down.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from threading import Lock

import msgspec

from sinks.explain import text
from sinks.explain.model import Explanation
from sinks.explain.names import UnknownGpu
from sinks.http import Answer, Pages, Problems, Request

GPUS = "/v1/gpus"
SUFFIX = "/explain"
PAGE = f"{GPUS}/KEY{SUFFIX}"
FRESH = {"Cache-Control": "no-store"}
WAIT_S = 5.0

Explain = Callable[[str], Explanation]


class CannotExplainError(Exception):
    """The log does not answer now; says why."""


class Explaining:
    """explain: raises UnknownGpu, CannotExplainError."""

    def __init__(self, explain: Explain) -> None:
        self._explain = explain
        self._turn = Lock()

    def asked(self, request: Request) -> str | None:
        """The name of the GPU that is asked about; None: the request is for another page."""
        path = request.path
        if path.startswith(f"{GPUS}/") and path.endswith(SUFFIX) and len(path) > len(GPUS) + len(SUFFIX) + 1:
            return path.removeprefix(f"{GPUS}/").removesuffix(SUFFIX)
        return None

    def answer(self, name: str, request: Request) -> Answer:
        if not self._turn.acquire(timeout=WAIT_S):
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "others are asking, too", {"Retry-After": "10"})
        try:
            explanation = self._explain(name)
        except UnknownGpu as error:
            why = f"{error.text}; {error.help}" if error.help else error.text
            return _problem(HTTPStatus.NOT_FOUND, why)
        except CannotExplainError as error:
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "10"})
        finally:
            self._turn.release()
        if request.query.get("format") == ["text"]:
            body = text.render(explanation).encode()
            return Answer(HTTPStatus.OK, "text/plain; charset=utf-8", [body], FRESH)
        return Answer(HTTPStatus.OK, "application/json", [msgspec.json.encode(explanation) + b"\n"], FRESH)


class ExplainPages(Pages):
    """The pages beside a pipeline, and explanations."""

    names = (*Pages.names, PAGE)

    def __init__(
        self,
        metrics: Callable[[], tuple[bytes, str]],
        unhealthy: Callable[[], Problems],
        unready: Callable[[], Problems],
        explain: Explain,
    ) -> None:
        super().__init__(metrics, unhealthy, unready)
        self._explaining = Explaining(explain)

    def answer(self, request: Request) -> Answer:
        name = self._explaining.asked(request)
        return super().answer(request) if name is None else self._explaining.answer(name, request)


def _problem(status: HTTPStatus, why: str, headers: dict[str, str] | None = None) -> Answer:
    body = msgspec.json.encode({"error": status.phrase.lower(), "why": why}) + b"\n"
    return Answer(status, "application/json", [body], {**FRESH, **(headers or {})})
