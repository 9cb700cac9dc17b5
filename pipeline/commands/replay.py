"""`gpu-vitals replay`: run the stages over what they read before, and prove that they say what they said live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.kafka_options import kafka_options
from pipeline.errors import UsageProblem, most_similar
from schemas.counts import counted
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from pipeline.kafka.replay import Asked, Found
    from pipeline.replay import Replayed
    from pipeline.settings import Settings
    from schemas.records import PolicyChange


@click.command(name="replay")
@click.argument("files", nargs=-1, metavar="[FILE...]", type=click.Path(path_type=Path))
@click.option("--policy", metavar="NAME|FILE", help="Judge by this policy from the beginning.")
@click.option("--verify", is_flag=True, help="Hold all outputs against those of the run.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each output record.")
@click.option("--topics", metavar="NAME,...", default="", help="With --json: only these topics.")
@click.option("--from", "since", metavar="TIME", help="Kafka: from here on, as 2026-01-01T00:10:00Z, or 10m (ago).")
@click.option("--to", "until", metavar="TIME", help="Kafka: up to, and without, this time.  [default: the end]")
@click.option("--warm-up", metavar="TIME", help="Kafka: how much to learn from without a checkpoint.  [default: 2h]")
@kafka_options
def command(
    settings: Settings,
    files: tuple[Path, ...],
    policy: str | None,
    verify: bool,
    as_json: bool,
    topics: str,
    since: str | None,
    until: str | None,
    warm_up: str | None,
) -> int:
    """Run all stages over recordings, one behind the other, or with --from over Kafka's topics.

    It is as fast as it goes, and touches nothing: nothing is written to Kafka, and no group is joined.
    --verify holds the outputs against the digests in the recording, or against what stands on the topics.

    \b
    Exit status: 0 done (and, with --verify, all equal); 1 outputs differ; 2 usage or input error,
    or --verify where there is nothing to hold them against.
    """
    from pipeline.policy_errors import load
    from processors.policy import to_change

    if policy and verify:
        raise UsageProblem(
            "--policy and --verify exclude each other",
            "another policy has other outputs; leave one of them out",
        )
    if bool(files) == bool(since):
        raise UsageProblem("name recordings, or a time on Kafka with --from", "as in `gpu-vitals replay --from 1h`")
    if files and (until or warm_up):
        raise UsageProblem("--to and --warm-up go with --from", "a recording is replayed whole")
    only = _known(topics)
    change = to_change(load(policy), 0) if policy else None
    if since:
        return _from_kafka(settings, _asked(since, until, warm_up, change, verify, only), as_json)
    return _from_files(files, change, verify, only, as_json)


def _from_files(
    files: tuple[Path, ...], change: PolicyChange | None, verify: bool, only: set[str], as_json: bool
) -> int:
    from pipeline.replay import replay

    write = sys.stdout.buffer.write if as_json else None
    result = replay(files, policy=change, verify=verify, show=write, only=only)
    _tell(result, as_json)
    return _verdict(result, as_json) if verify else 0


def _from_kafka(settings: Settings, asked: Asked, as_json: bool) -> int:
    import asyncio

    from pipeline.kafka.replay import replay
    from pipeline.progress import progress

    with progress("replay") as shown:
        write = sys.stdout.buffer.write if as_json else None
        result = asyncio.run(replay(settings.kafka, asked, shown, show=write))
    _tell(result, as_json)
    return _proof(result, as_json) if asked.verify else 0


def _asked(
    since: str, until: str | None, warm_up: str | None, change: PolicyChange | None, verify: bool, only: set[str]
) -> Asked:
    import msgspec

    from pipeline.clock import wall_ms
    from pipeline.kafka.replay import Asked
    from pipeline.moments import parse_moment
    from pipeline.settings import parse_duration

    now_ms = wall_ms()
    from_ms = parse_moment("--from", since, now_ms)
    to_ms = parse_moment("--to", until, now_ms) if until else None
    if to_ms is not None and to_ms <= from_ms:
        raise UsageProblem("--to is not later than --from")
    warm_up_ms = int(1000 * parse_duration(warm_up or "2h"))
    change = msgspec.structs.replace(change, ts=from_ms) if change else None
    return Asked(from_ms, to_ms, warm_up_ms, change, verify, frozenset(only))


def _tell(result: Replayed, as_json: bool) -> None:
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    if not as_json:
        click.echo(summary(result))


def _known(topics: str) -> set[str]:
    names = {name.strip() for name in topics.split(",") if name.strip()}
    for name in sorted(names - TOPICS.keys()):
        similar = most_similar(name, TOPICS)
        raise UsageProblem(
            f"--topics: no such topic: {name}",
            f"a topic with a similar name exists: `{similar}`" if similar else f"topics: {', '.join(TOPICS)}",
        )
    return names


def _verdict(result: Replayed, as_json: bool) -> int:
    if not result.digests:
        raise UsageProblem("no digests in this recording", "`gpu-vitals run --record FILE` writes them")
    for difference in result.differences:
        click.echo(f"different: {difference}", err=True)
    if result.differences:
        return 1
    click.echo(f"equal: {counted(result.proved, 'output')} in {counted(result.digests, 'digest')}", err=as_json)
    return 0


def _proof(result: Found, as_json: bool) -> int:
    for difference in result.differences:
        click.echo(f"different: {difference}", err=True)
    if result.differences:
        for part in result.warmed:
            if result.verdicts[part].difference:
                name = f"{part.stage}/{part.partition}"
                click.echo(f"note: {name} was only warmed up and may lack what is older: it proves nothing", err=True)
        return 1
    replaced = sum(verdict.replaced for verdict in result.verdicts.values())
    more = f"; {counted(replaced, 'more has', 'more have')} since been replaced on compacted topics" if replaced else ""
    click.echo(
        f"equal: {counted(result.proved, 'output')} of {counted(len(result.verdicts), 'partition')}{more}", err=as_json
    )
    return 0


def summary(result: Replayed) -> str:
    """For people: records in and out, conditions at the end, and every GPU that is not healthy."""
    import msgspec

    from schemas.records import Score
    from schemas.states import Condition

    lines = [f"{count:>9}  records in   {stage}" for stage, count in result.inputs.items()]
    lines += [f"{count:>9}  records out  {topic}" for topic, count in sorted(result.outputs.items())]
    decode = msgspec.json.Decoder(Score).decode
    scores = [decode(value) for _, value in sorted(result.scores.items()) if value]
    for condition in Condition:
        if count := sum(score.condition is condition for score in scores):
            lines.append(f"{count:>9}  GPUs         {condition.value}")
    for score in sorted(scores, key=lambda score: score.score):
        if score.condition is not Condition.HEALTHY:
            why = "; ".join(reason.text or reason.signal for reason in score.reasons) or "no reason given"
            name = score.uuid or score.bdf
            lines.append(f"{score.score:9.2f}  {score.condition.value:11}  {score.node} {name}: {why}")
    return "\n".join(lines)
