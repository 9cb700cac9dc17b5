"""`gpu-vitals revalidations`: outputs that may be wrong, and people's answers about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.commands.kafka_options import kafka_options
from pipeline.errors import UsageProblem
from schemas.counts import counted

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from sinks.rechecks import Recheck

ROW = "{:<40}  {:<16}  {:<19}  {:<33}  {:<19}  {:<10}  {}"


@click.group(name="revalidations")
def command() -> None:
    """Outputs that GPUs made while their memory may have been wrong: which are to be checked again, and the answers.

    \b
        $ gpu-vitals revalidations list
        $ gpu-vitals revalidations answer GPU-34bf77d1 clean --checked 812 --note "compared with node9"

    A service of yours can answer instead: docs/revalidation.md.
    """


@command.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Those that are answered, too.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON each.")
@kafka_options
def list_(settings: Settings, everything: bool, as_json: bool) -> int:
    """List what is to be checked again, the oldest first.

    FROM says in brackets what makes it the last point at which the GPU was known to be good.
    """
    found = [each for each in _rechecks(settings) if everything or each.answer is None]
    if as_json:
        import msgspec

        for each in found:
            line = {"key": each.key, "state": each.state, "asked": each.asked, "answer": each.answer}
            click.echo(msgspec.json.encode(line))
        return 0
    if not found:
        click.echo("no outputs are to be checked again", err=True)
        return 0
    click.echo(ROW.format("GPU", "node", "detected (UTC)", "from", "to", "confidence", "answer").rstrip())
    for each in found:
        click.echo(_row(each))
    return 0


@command.command(name="answer", short_help="Answer for a GPU's outputs: clean, corrupt or unknown.")
@click.argument("gpu")
@click.argument("result", type=click.Choice(["clean", "corrupt", "unknown"]))
@click.option("--detected", metavar="TIME", help="Which of several: as `list` shows it, or in ms.")
@click.option("--checked", type=click.IntRange(0), help="How many outputs were checked.  [default: 0, or --wrong]")
@click.option("--wrong", type=click.IntRange(0), help="How many of them are wrong.  [default: 0, or 1 of corrupt]")
@click.option("--author", metavar="NAME", help="Who says so.  [default: this user's name]")
@click.option("--note", default="", metavar="TEXT", help="What else there is to say.")
@kafka_options
def answer(
    settings: Settings,
    gpu: str,
    result: str,
    detected: str | None,
    checked: int | None,
    wrong: int | None,
    author: str | None,
    note: str,
) -> None:
    """Answer for GPU's outputs: clean, corrupt, or unknown where they cannot be checked any more.

    GPU: its UUID, or how that begins; NODE/BDF where that is how it is listed. The newest answer counts; what has been
    answered may be answered otherwise with --detected.
    """
    import asyncio
    import getpass

    from pipeline.clock import wall_ms
    from pipeline.kafka import rechecking
    from schemas.records import Revalidated
    from schemas.revalidations import CORRUPT, fault

    asked = _meant(_rechecks(settings), gpu, detected).asked
    wrong = int(result == CORRUPT) if wrong is None else wrong
    said = Revalidated(
        ts=wall_ms(),
        cluster=asked.cluster,
        node=asked.node,
        uuid=asked.uuid,
        bdf=asked.bdf,
        detected=asked.detected,
        end=asked.end,
        result=result,
        checked=wrong if checked is None else checked,
        wrong=wrong,
        author=author or getpass.getuser(),
        note=note,
    )
    if why := fault(said):
        raise UsageProblem(why, "--checked and --wrong count outputs; corrupt has wrong ones, the others have none")
    asyncio.run(rechecking.say(settings.kafka, [said]))
    click.echo(f"{asked.uuid or asked.bdf} on {asked.node}: {result}", err=True)


def _rechecks(settings: Settings) -> list[Recheck]:
    import asyncio

    from pipeline.kafka import rechecking

    found, unreadable = asyncio.run(rechecking.rechecks(settings.kafka))
    if unreadable:
        click.echo(f"left out: {counted(unreadable, 'record')} that could not be read", err=True)
    return found


def _meant(found: list[Recheck], gpu: str, detected: str | None) -> Recheck:
    """Raises UsageProblem: none is, or more than one."""
    from pipeline.clock import wall_ms
    from pipeline.moments import parse_moment, shown

    look = "`gpu-vitals revalidations list --all` shows them"
    own = [each for each in found if each.key == gpu] or [each for each in found if each.key.startswith(gpu)]
    if not own:
        raise UsageProblem(f"no outputs of {gpu} were to be checked again", look)
    if keys := {each.key for each in own if each.key != own[0].key}:
        raise UsageProblem(f"{gpu} may be {own[0].key} or {min(keys)}", "name it in full")
    if detected is None:
        open_ = [each for each in own if each.answer is None]
        if len(open_) == 1:
            return open_[0]
        times = ", ".join(f'"{shown(each.asked.detected)}"' for each in open_ or own)
        what = f"{len(open_)} requests are open" if open_ else "every request is answered"
        raise UsageProblem(f"{own[0].key}: {what}", f"--detected says which one is meant: {times}")
    ms = parse_moment("--detected", detected, wall_ms())
    exact = [each for each in own if each.asked.detected == ms]
    same = exact or [each for each in own if each.asked.detected // 1000 == ms // 1000]
    if len(same) != 1:
        problem = "nothing" if not same else "more than one thing"
        raise UsageProblem(f"{own[0].key}: {problem} was detected at {detected}", f"{look}, with --json to the ms")
    return same[0]


def _row(each: Recheck) -> str:
    from pipeline.moments import shown

    asked, answer = each.asked, each.answer
    start = f"{shown(asked.start)} ({asked.since})" if asked.start else "the beginning"
    said = "open"
    if answer:
        counted = f", {answer.wrong} of {answer.checked} wrong" if answer.checked else ""
        said = f"{answer.result}{counted}, by {answer.author or 'nobody named'}"
    return ROW.format(
        each.key, asked.node, shown(asked.detected), start, shown(asked.end), asked.confidence, said
    ).rstrip()
