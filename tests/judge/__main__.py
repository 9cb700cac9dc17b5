"""The suites at full length, with their tables: `make judge`."""

from __future__ import annotations

from schemas.alerts import BUDGET_PER_DAY_AND_1000_GPUS
from tests.judge import suites


def main() -> None:
    complaints = []
    found = suites.detection_table(100)
    complaints += [
        f"{each.mode}: {len(each.seconds)} of {each.injected}" for each in found if each.injected != len(each.seconds)
    ]

    quiet = suites.healthy_fleet(125, 30)
    suites.cases_table(None, quiet)
    complaints += [f"healthy fleet: {case.node} {case.uuid}: {case.cause}" for case in quiet.cases.values()]
    complaints += [f"healthy fleet: prediction {each.action} for {each.uuid}" for each in quiet.orders()]

    world, bench = suites.failing_fleet(125, 30)
    suites.cases_table(world, bench)
    alerts, orders = len(bench.alerts()), len({each.uuid for each in bench.orders()})
    daily = (alerts + orders) / 30
    most = BUDGET_PER_DAY_AND_1000_GPUS
    print(f"alerts: {alerts} cases + {orders} predictions = {daily:.2f} a day and 1,000 GPUs (at most {most:g})")
    complaints += [f"untrue alert: {each}" for each in suites.untrue(world, bench)]
    if daily > most:
        complaints.append(f"{daily:.2f} alerts a day")

    storm = suites.storm(800_000)
    rate = storm.lines / storm.seconds
    print(f"\nstorm: {storm.lines} lines of one Xid, {rate:,.0f} a second of one core, {storm.xids} records of them")
    if storm.delayed > 1:
        complaints.append(f"storm: another GPU's verdict came {storm.delayed} batches late")
    if complaints:
        raise SystemExit("\n".join(["", "NOT AS IT SHOULD BE:", *complaints]))


if __name__ == "__main__":
    main()
