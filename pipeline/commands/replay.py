"""`gpu-vitals replay`: run the stages over recordings, and prove that they say what they said live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.errors import UsageProblem, most_similar
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from pipeline.replay import Replayed


@click.command(name="replay")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--policy", metavar="NAME|FILE", help="Judge by this policy from the beginning.")
@click.option("--verify", is_flag=True, help="Hold all outputs against the digests in the recording.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each output record.")
@click.option("--topics", metavar="NAME,...", default="", help="With --json: only these topics.")
def command(files: tuple[Path, ...], policy: str | None, verify: bool, as_json: bool, topics: str) -> int:
    """Run all stages over recordings, one behind the other, as fast as they go.

    \b
    Exit status: 0 done (and, with --verify, all equal); 1 outputs differ; 2 usage or input error,
    or --verify where the recording holds no digests.
    """
    from pipeline.policy_errors import load
    from pipeline.replay import replay
    from processors.policy import to_change

    if policy and verify:
        raise UsageProblem(
            "--policy and --verify exclude each other",
            "another policy has other outputs; leave one of them out",
        )
    only = _known(topics)
    change = to_change(load(policy), 0) if policy else None
    write = sys.stdout.buffer.write if as_json else None
    result = replay(files, policy=change, verify=verify, show=write, only=only)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    if not as_json:
        click.echo(summary(result))
    return _verdict(result, as_json) if verify else 0


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
    click.echo(f"equal: {result.proved} outputs in {result.digests} digests", err=as_json)
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
