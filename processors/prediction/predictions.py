"""The node stage's part that foretells: sums up errors per bucket of node time, and asks the predictor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors.moves import Moves
from processors.prediction.history import Histories, History, Running, buckets_in_window
from processors.prediction.policy import policy_type
from processors.prediction.predictor import NOTHING, Bucket, Evidence, Forecast, discover
from processors.state import Column, Table
from processors.waves import Round
from schemas.fields import ECC_DBE_VOLATILE, ECC_SBE_VOLATILE
from schemas.states import PredictionAction

Array = npt.NDArray[Any]

# Within a bucket it is asked again once so many times the errors have come as last time, and not within a minute: a
# storm on a whole fleet shall not cost more than this.
ASK_AGAIN, ASK_AGAIN_MS = 1.25, 60_000
SEVERITY = {action: number for number, action in enumerate(PredictionAction)}

# Of the bucket that has begun, per GPU; all 0 for those without a history.
COLUMNS = {
    "since": Column("i8"),  # node time of the GPU's first sample, ms
    "bucket": Column("i8"),  # number of the bucket, 0 = no error yet
    "judged": Column("i8"),  # number of the bucket at whose beginning a forecast was made last
    "errors": Column("i8"),
    "uncorrectable": Column("i8"),
    "asked": Column("i8"),  # errors of both kinds when a forecast was tried last
    "asked_ts": Column("i8"),  # and the node time, ms
    "level": Column("f8"),  # the raw counter of correctable errors
}


class Foretold(NamedTuple):
    """What is to be published of a row. errors_per_hour: correctable ones, newest bucket and the one that has begun."""

    row: int
    forecast: Forecast
    errors_per_hour: float


class Predictions:
    """All rows of a node stage. Costs nothing for a GPU without errors but one comparison at each timer."""

    def __init__(self, capacity: int) -> None:
        self.table = Table(COLUMNS, capacity)
        self.histories = Histories()
        self._rows: Array | None = None  # those with a history; None: look again
        self._take(policy_type()())

    def _take(self, policy: Any) -> None:
        self.policy = policy
        self.predictor = discover()[policy.model]
        self.bucket_ms = round(policy.points_every_s * 1000)
        self.bucket_h = self.bucket_ms / 3_600_000

    def apply(self, policy: Any) -> None:
        """Foretell by `policy` (of `policy_type()`) from now on. What was published stands until the next timer."""
        model, bucket_ms = self.predictor, self.bucket_ms
        self._take(policy)
        columns = self.table.columns
        for row in self.histories.rows():
            history = self.histories[row]
            if bucket_ms != self.bucket_ms:  # sums of another length say nothing about these
                now = columns["bucket"][row] * bucket_ms // self.bucket_ms
                history = History(columns["level"][row].item(), said=history.said)
                self.histories.begin(row, history)
                columns["bucket"][row] = columns["judged"][row] = now
                columns["since"][row] = now * self.bucket_ms
                columns["errors"][row] = columns["uncorrectable"][row] = columns["asked"][row] = 0
            if model is not self.predictor or bucket_ms != self.bucket_ms:
                history.rebuild(self.predictor, self.bucket_h)

    # --- rows ----------------------------------------------------------------------------------------------------

    def forget(self, row: int) -> None:
        """Another GPU stands there."""
        self.table.reset(np.array([row]))
        self.histories.forget(row)
        self._rows = None

    def copy(self, source: int, target: int) -> None:
        """`source` was the same GPU; what is known of `target` itself counts more."""
        if source in self.histories and target not in self.histories:
            self.table.copy(source, target)
            self.histories.copy(source, target)
            self._rows = None

    def unsay(self, row: int) -> bool:
        """The row's key is no longer its own: whether anything stands under it. It is said anew at the next timer."""
        if row not in self.histories or self.histories[row].said == NOTHING:
            return False
        self.histories[row].said = NOTHING
        self.table.columns["judged"][row] = 0
        return True

    # --- errors --------------------------------------------------------------------------------------------------

    def saw(self, round_: Round, node_ts: Array) -> None:
        """Sum up a round of frames. node_ts: of every row's newest sample before it, 0 = none."""
        moves = round_.moves
        if moves is None or not (ECC_SBE_VOLATILE in moves.fields or ECC_DBE_VOLATILE in moves.fields):
            return
        errors, uncorrectable = _increases(moves, ECC_SBE_VOLATILE), _increases(moves, ECC_DBE_VOLATILE)
        level, moved = self._levels(round_, moves), np.zeros(errors.shape, bool)
        for field in (ECC_SBE_VOLATILE, ECC_DBE_VOLATILE):
            if field in moves.fields:
                moved |= moves.moved[moves.fields[field]]
        rows = round_.rows[moves.at]
        known = self.table.columns["bucket"][rows] > 0
        news = moved & ((errors + uncorrectable > 0) | (level > 0) | known)
        for tick in np.flatnonzero(news.any(axis=1)).tolist():
            at = np.flatnonzero(news[tick])
            ts = round_.ts[:, moves.at[at]]
            before = ts[tick - 1] if tick else node_ts[rows[at]]
            self._add(rows[at], ts[tick], before, errors[tick, at], uncorrectable[tick, at], level[tick, at])

    def _levels(self, round_: Round, moves: Moves) -> Array:
        """The raw counter, [tick, GPU]; NaN where blank."""
        if ECC_SBE_VOLATILE in moves.fields:
            return np.asarray(moves.values[moves.fields[ECC_SBE_VOLATILE]])
        shape = moves.moved.shape[1:]
        if ECC_SBE_VOLATILE not in round_.counters.fields:
            return np.full(shape, np.nan)
        return np.broadcast_to(round_.known(ECC_SBE_VOLATILE)[moves.at], shape)

    def _add(self, rows: Array, ts: Array, before: Array, errors: Array, uncorrectable: Array, level: Array) -> None:
        """One tick of some GPUs."""
        columns = self.table.columns
        bucket = ts // self.bucket_ms
        for at in np.flatnonzero(bucket > columns["bucket"][rows]).tolist():
            row, number = int(rows[at]), int(bucket[at])
            if row in self.histories:
                told = errors[at].item(), level[at].item()
                errors[at] -= self._spread(row, int(ts[at]), int(before[at]), *told)
                self._close(row, number)
            else:
                if not columns["since"][row]:
                    columns["since"][row] = ts[at]
                started = level[at] - errors[at]
                self._begin(row, number, float(started if started >= 0 else level[at]))
        columns["errors"][rows] += errors
        columns["uncorrectable"][rows] += uncorrectable
        columns["level"][rows] = np.where(np.isnan(level), columns["level"][rows], level)

    def _begin(self, row: int, number: int, level: float) -> None:
        self.histories.begin(row, History(level, state=self.predictor.begin()))
        self._rows = None
        self.table.columns["bucket"][row] = self.table.columns["judged"][row] = number

    def _close(self, row: int, number: int) -> None:
        """The bucket of `row` is over, that of `number` has begun."""
        columns = self.table.columns
        over = Bucket(*(int(columns[name][row]) for name in ("bucket", "errors", "uncorrectable")))
        self.histories[row].add(over, columns["level"][row].item(), self.predictor, self.bucket_h)
        columns["bucket"][row] = number
        columns["errors"][row] = columns["uncorrectable"][row] = columns["asked"][row] = 0

    def _spread(self, row: int, ts: int, before: int, errors: int, level: float) -> int:
        """Errors counted over a time with more than one bucket in it: evenly. Returns how many came before the newest.

        before: ms, of the sample before, 0 = none.
        """
        columns, length, number = self.table.columns, self.bucket_ms, ts // self.bucket_ms
        if not before or not errors or before // length >= number:
            return 0
        grown = level - errors == columns["level"][row]
        first = max(before // length, number - buckets_in_window(self.bucket_h))
        told: int = errors * max(first * length - before, 0) // (ts - before)  # too old to be kept
        for at in range(first, number):
            if columns["bucket"][row] < at:
                self._close(row, at)
            so_far = errors * ((at + 1) * length - before) // (ts - before)
            columns["errors"][row] += so_far - told
            if grown:
                columns["level"][row] = level - errors + so_far
            told = so_far
        return told

    # --- forecasts -----------------------------------------------------------------------------------------------

    def timer(self, node_ts: Array, *, new_policy: bool = False) -> Iterator[Foretold]:
        """What is new at a point of the timer grid. node_ts: of each row's newest sample, ms, 0 = none.

        A GPU is judged at the first timer after one of its buckets is over, and within a bucket when errors come, if
        they make it more urgent than what was said.
        """
        columns = self.table.columns
        since = columns["since"][: len(node_ts)]
        np.copyto(since, node_ts, where=since == 0)
        if not len(self.histories):
            return
        if self._rows is None:
            self._rows = np.array(self.histories.rows(), "i8")
        rows = self._rows
        now = np.maximum(node_ts[rows] // self.bucket_ms, columns["bucket"][rows])
        over = (now > columns["judged"][rows]) | new_policy
        more = columns["errors"][rows] + columns["uncorrectable"][rows] > ASK_AGAIN * columns["asked"][rows]
        lively = more & (node_ts[rows] - columns["asked_ts"][rows] >= ASK_AGAIN_MS)
        for at in np.flatnonzero(over | lively).tolist():
            foretold = self._judge(int(rows[at]), int(now[at]), int(node_ts[rows[at]]), over=bool(over[at]))
            if foretold is not None:
                yield foretold

    def _judge(self, row: int, now: int, ts: int, *, over: bool) -> Foretold | None:
        columns, history = self.table.columns, self.histories[row]
        if columns["bucket"][row] < now:
            self._close(row, now)
        begun = Bucket(now, int(columns["errors"][row]), int(columns["uncorrectable"][row]))
        hours = max(ts - now * self.bucket_ms, 1000) / 3_600_000
        running = Running(begun, columns["level"][row].item(), min(hours, self.bucket_h))
        forecast = history.said
        if over:
            columns["judged"][row] = now
            evidence = history.evidence(self._since(row), now, self.bucket_h)
            forecast = self._forecast(evidence, history.state)
        if begun.errors or begun.uncorrectable:
            columns["asked"][row], columns["asked_ts"][row] = begun.errors + begun.uncorrectable, ts
            evidence = history.evidence(self._since(row), now, self.bucket_h, running)
            state = self.predictor.observe(history.state, begun, self.bucket_h)
            sooner = self._forecast(evidence, state)
            if SEVERITY[sooner.action] > SEVERITY[forecast.action]:
                forecast = sooner
        if not self._visible(history.said, forecast):
            return None
        history.said = forecast
        return Foretold(row, forecast, _rate(evidence))

    def _since(self, row: int) -> int:
        return int(self.table.columns["since"][row].item() // self.bucket_ms)

    def _forecast(self, evidence: Evidence, state: Any) -> Forecast:
        """Rounded: of exponentials and logarithms, C libraries may differ in the last bit."""
        own = getattr(self.policy, self.policy.model)
        action, hours, confidence = self.predictor.forecast(evidence, state, own)
        return Forecast(action, round(hours, 3), round(confidence, 4))

    def _visible(self, before: Forecast, after: Forecast) -> bool:
        """More urgent: at once. Else only by a step, so that an action does not come and go at its limit."""
        if SEVERITY[before.action] < SEVERITY[after.action]:
            return True
        if abs(before.confidence - after.confidence) >= max(self.policy.confidence_step, 1e-9):
            return True
        if before.hours == after.hours:  # both infinite, too
            return False
        step: float = self.policy.hours_step_share * min(before.hours, after.hours)
        return abs(before.hours - after.hours) >= step

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def save(self, count: int) -> dict[str, Any]:
        return {
            "model": self.predictor.name,
            "bucket_ms": self.bucket_ms,
            "table": self.table.save(count),
            "histories": self.histories.save(),
        }

    def load(self, count: int, saved: dict[str, Any]) -> None:
        """After the policy is in force. Sums of buckets of another length are left out."""
        if saved["bucket_ms"] != self.bucket_ms:
            return
        self.table.load(count, saved["table"])
        whose = self.predictor if saved["model"] == self.predictor.name else None
        self.histories.load(saved["histories"], whose, self.bucket_h, self.predictor)
        self._rows = None


def _increases(moves: Moves, field: int) -> Array:
    """By how much a counter grew, [tick, GPU], whole numbers; 0 where it is blank or no counter of the round."""
    if field not in moves.fields:
        return np.zeros(moves.moved.shape[1:], "i8")
    return np.asarray(np.minimum(np.nan_to_num(moves.increases[moves.fields[field]]), 2.0**53).astype("i8"))


def _rate(evidence: Evidence) -> float:
    newest = 1 if evidence.running_h is None else 2
    hours = sum(evidence.lengths()[-newest:])
    return round(sum(evidence.counts[-newest:]) / hours, 3) if hours else 0.0
