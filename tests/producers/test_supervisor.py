from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import pytest

from producers import supervisor
from producers.numbering import Numbering
from producers.source import Ended, Observed, Source, SourceError
from producers.supervisor import supervise
from schemas import records


def fault(number: int) -> Observed:
    return Observed("n", "kernel", records.encode(records.KernelFault(ts=number, node="n", fault="xid", code=number)))


HANG = object()


class Script(Source):
    """Says its lines in order, an exception being raised where it stands. A position is the next line."""

    name = "script"
    deadline_s = 0.05

    def __init__(self, *lines: object) -> None:
        self.lines = list(lines)
        self.opened: list[str | None] = []
        self.closed = 0
        self._at = 0

    async def open(self, after: str | None) -> None:
        self.opened.append(after)

    async def read(self) -> list[Observed]:
        if self._at == len(self.lines):
            raise Ended
        line = self.lines[self._at]
        self._at += 1
        if line is HANG:
            await asyncio.sleep(3600)
        if isinstance(line, Exception):
            raise line
        assert isinstance(line, list)
        return line

    def position(self) -> str | None:
        return str(self._at)

    async def close(self) -> None:
        self.closed += 1


class Sink:
    """Takes what is appended."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.entries: list[Observed] = []
        self.positions: list[str | None] = []
        self._fail_at = fail_at

    async def __call__(self, entries: Sequence[Observed], *, source: str, position: str | None) -> None:
        if len(self.positions) == self._fail_at:
            raise OSError(28, "No space left on device")
        self.entries += entries
        self.positions.append(position)

    def codes(self) -> list[int]:
        return [msgspec.json.decode(one.value)["code"] for one in self.entries if one.kind == "kernel"]

    def states(self) -> list[str]:
        return [msgspec.json.decode(one.value)["state"] for one in self.entries if one.kind == "source"]

    def details(self) -> list[str]:
        said = [msgspec.json.decode(one.value) for one in self.entries if one.kind == "source"]
        return [one["detail"] for one in said if "detail" in one]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_S", 0.0001)
    monkeypatch.setattr(supervisor, "IDLE_S", 0.0)
    logging.getLogger("producers.supervisor").setLevel(logging.CRITICAL)


def run(source: Source, sink: Sink | None = None, position: str | None = None) -> Sink:
    sink = sink or Sink()
    asyncio.run(
        asyncio.wait_for(
            supervise(source, sink, position=position, numbering=Numbering(1000), node="here", seed=1), 60.0
        )
    )
    return sink


def test_what_is_read_is_appended_with_its_position() -> None:
    sink = run(script := Script([fault(1)], [], [fault(2), fault(3)]), position="before")
    assert sink.codes() == [1, 2, 3]
    assert sink.positions == ["before", "1", "3", "3"]
    assert script.opened == ["before"]
    assert script.closed >= 1


def test_observations_and_health_are_numbered() -> None:
    sink = run(Script([fault(1)], [fault(2)]))
    said = [msgspec.json.decode(one.value) for one in sink.entries]
    assert [(one["node"], one["seq"]) for one in said] == [("here", 1), ("n", 1), ("n", 2), ("here", 2)]
    assert {one["epoch"] for one in said} == {1000}


def test_health_is_told_when_it_changes_and_not_each_time() -> None:
    lines = ([fault(1)], *[SourceError("cable")] * 5, [fault(2)], [fault(3)])
    sink = run(Script(*lines))
    assert sink.states() == ["ok", "failing", "ok", "ended"]
    assert sink.details() == ["cable"]


def test_what_is_wrong_is_told_by_machine_too_and_anew_when_it_is_another_thing() -> None:
    failures = [SourceError("away", cause="engine-down")] * 2 + [SourceError("slow", cause="hung"), HANG]
    sink = run(Script([fault(1)], *failures, [fault(2)]))
    said = [msgspec.json.decode(one.value) for one in sink.entries if one.kind == "source"]
    assert [(one["state"], one.get("cause", "")) for one in said] == [
        ("ok", ""),
        ("failing", "engine-down"),
        ("failing", "hung"),
        ("ok", ""),
        ("ended", ""),
    ]


def test_a_source_that_goes_on_failing_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "AGAIN_S", 0.0)
    sink = run(Script([fault(1)], *[SourceError("cable")] * 4, [fault(2)]))
    assert sink.states() == ["ok", *["failing"] * 4, "ok", "ended"]


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (SourceError("cannot read it"), "cannot read it"),
        (HANG, "no answer within 0.05 s"),
        (ZeroDivisionError("division"), "crashed: ZeroDivisionError: division"),
    ],
)
def test_after_any_failure_it_goes_on_behind_what_was_appended(trouble: object, why: str) -> None:
    sink = run(script := Script([fault(1)], trouble, [fault(2)]))
    assert sink.codes() == [1, 2]
    assert script.opened == [None, "1"]
    assert sink.details() == [why]


def test_a_source_that_hangs_does_not_keep_another_from_speaking() -> None:
    async def both() -> Sink:
        hanging, speaking = Sink(), Sink()
        options = {"position": None, "numbering": Numbering(1), "node": "here"}
        stuck = asyncio.ensure_future(supervise(Script(*[HANG] * 99), hanging, **options))  # type: ignore[arg-type]
        await supervise(Script([fault(1)]), speaking, **options)  # type: ignore[arg-type]
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        return speaking

    assert asyncio.run(both()).codes() == [1]


def test_whoever_is_told_to_end_while_its_source_is_closed_ends() -> None:
    async def run() -> bool:
        class EndsUs(Script):
            async def close(self) -> None:
                task.cancel()

        source = EndsUs(SourceError("cable"), *[[fault(1)]] * 99)
        task = asyncio.ensure_future(supervise(source, Sink(), position=None, numbering=Numbering(1), node="here"))
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(run())


def test_pauses_grow_up_to_a_bound_and_start_anew_after_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr(supervisor, "BACKOFF_S", 0.5)
    monkeypatch.setattr(supervisor.asyncio, "sleep", sleep)
    errors = [SourceError("x")] * 9
    run(Script(*errors, [fault(1)], *errors))
    assert all(0.5 <= pause / min(2**at, 30.0) <= 1.0 for at, pause in enumerate(pauses[:9]))
    assert pauses[9] <= 1.0
    assert max(pauses) <= 30.0


def test_what_the_log_refuses_ends_it_and_nothing_is_passed_over() -> None:
    sink, script = Sink(fail_at=1), Script([fault(1)], [fault(2)])
    with pytest.raises(OSError, match="No space left"):
        run(script, sink)
    assert sink.codes() == []
    assert script.closed >= 1


def test_the_health_of_a_source_with_its_own_clock_is_told_at_its_time() -> None:
    class Past(Script):
        owns_clock = True

    sink = run(Past(SourceError("not yet"), [fault(1)._replace(ts=77)], [fault(2)._replace(ts=99)]))
    assert [(one.kind, one.ts) for one in sink.entries] == [
        ("source", 77),
        ("kernel", 77),
        ("kernel", 99),
        ("source", 99),
    ]


def test_how_far_it_has_read_is_remembered_even_where_there_was_nothing_to_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the kernel's log, long overwritten, would look like a loss after a restart."""
    monkeypatch.setattr(supervisor, "REMEMBER_S", 0.0)
    sink, source = Sink(), Script([], [], [fault(1)], SourceError("gone"), [])
    asyncio.run(supervise(source, sink, position="0", numbering=Numbering(1), node="n"))
    assert sink.codes() == [1]
    assert sink.positions[:4] == ["0", "1", "2", "3"]


def test_but_not_at_each_read() -> None:
    sink, source = Sink(), Script([], [], [])
    asyncio.run(supervise(source, sink, position="0", numbering=Numbering(1), node="n"))
    assert set(sink.positions) == {"0"}
