"""`gpu-vitals hold`, `drain` and so on: what operators say to a running fleet, one command for each word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.fleet_options import fleet_options
from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.operators.saying import Fleet

FOREVER = "until it is ended"
ABOUT = {
    "hold": """Hold back what is discretionary, and every removal and reset, there or everywhere (--all).

    Hard faults and suspected corruption lose their traffic all the same. It ends at its time, or by `release`.

    \b
        $ gpu-vitals hold --all --for 2h --note "cooling is being repaired"
        $ gpu-vitals hold --rack r7""",
    "release": """End a hold, named as it was; with --all the fleet's, and a storm's.""",
    "drain": """Take GPUs out of service, whatever the budget: nothing new is routed there. `undrain` gives back.""",
    "undrain": """Give back what was drained. What has failed meanwhile stays out; `restore` is for that.""",
    "override": """Set the weight of GPUs, whatever is judged; suspected corruption excepted.

    \b
        $ gpu-vitals override --gpu GPU-34bf77d1-... --weight 1 --for 12h --note "known false alarm" """,
    "end-override": """Let the judgement count again.""",
    "restore": """Put a GPU back: its latched faults are cleared, its case ends, the next judgement counts.""",
    "maintenance": """Announce planned work on a GPU or a node: it drains without alarm, and comes back by itself.""",
    "end-maintenance": """End planned work before its time.""",
    "proceed": """Let a case go on that waits for an operator, on old evidence for example.""",
}
LASTS = {"hold": "4h", "override": "4h", "maintenance": "4h", "drain": FOREVER}
AFTERWARDS = """    Prints what was recorded, and then what became of it.

    \b
    Exit status: 0 recorded; 1 recorded, and refused by the stages; 2 not recorded."""
WAIT = "5s"
WIDE = {"hold", "release"}  # also of everything
ALL, NODE = "--all", "--node"
EVERYTHING = ("all", "cluster", "fleet")
GPU = re.compile(r"(GPU|MIG)-|[0-9a-f]{8}-|.*:", re.IGNORECASE)  # a UUID, or an address of PCI
NUMBER, DURATION = re.compile(r"[\d.]+"), re.compile(r"\d+(ms|s|m|h|d)")
RACKS = {"hold", "release", "drain", "undrain", "override", "end-override"}


class Word(click.Command):
    """A command whose every value stands behind an option; a bare one is told its option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, bare, _ = self.make_parser(ctx).parse_args(list(args))
        if bare and "help" not in given:
            raise unnamed(str(self.name), bare, args)
        return super().parse_args(ctx, args)


def unnamed(action: str, bare: list[str], args: list[str]) -> UsageProblem:
    """What to type instead of bare values; one word is of one GPU, node or rack."""
    meant: dict[str, str] = {}
    kept = list(args)
    for value in bare:
        kept.remove(value)
        meant.setdefault(_option(action, value), value)
    typed = [part for option, value in meant.items() for part in ([option] if option == ALL else [option, value])]
    line = shlex.join(["gpu-vitals", action, *typed, *kept])
    each = "; one command for each" if len(meant) < len(bare) else ""
    rack = f"; if it is a rack, --rack {shlex.quote(meant[NODE])}" if NODE in meant and action in RACKS else ""
    return UsageProblem(f"{' '.join(bare)}: not said what it is", f"it seems to be for {line}{each}{rack}")


def _option(action: str, value: str) -> str:
    if value in EVERYTHING and action in WIDE:
        return ALL
    if action == "override" and NUMBER.fullmatch(value):
        return "--weight"
    if action in LASTS and DURATION.fullmatch(value):
        return "--for"
    return "--gpu" if GPU.match(value) else NODE


def _command(action: str) -> click.Command:
    @fleet_options
    def callback(fleet: Fleet, **given: Any) -> int:
        return _say(fleet, action, **given)

    options = [
        click.option("--gpu", metavar="UUID|NODE/ADDRESS", default="", help="One GPU."),
        click.option("--node", metavar="NAME", default="", help="All GPUs of a node; with --gpu, where that is."),
    ]
    if action in RACKS:
        options.append(click.option("--rack", metavar="NAME", default="", help="All GPUs of a rack."))
    if action in WIDE:
        options.append(click.option("--all", "all_", is_flag=True, help="The whole cluster."))
    if action == "override":
        options.append(click.option("--weight", type=click.FloatRange(0.0, 1.0), required=True, help="0 to 1."))
    if action in LASTS:
        help = f"How long.  [default: {LASTS[action]}]"
        options.append(click.option("--for", "lasts", metavar="DURATION", default=LASTS[action], help=help))
    options += [
        click.option("--note", metavar="TEXT", default="", help="Why; it is shown beside the name."),
        click.option("--author", metavar="NAME", help="Who says it.  [default: this user's name]"),
        click.option("--wait", metavar="TIME", default=WAIT, help=f"For what comes of it; 0: not.  [default: {WAIT}]"),
        click.option("--key", "key_file", metavar="FILE", help="Sign it: a key as `commands keygen` writes it."),
    ]
    wrapped: Callable[..., Any] = callback
    for option in reversed(options):
        wrapped = option(wrapped)
    return click.command(name=action, cls=Word, help=f"{ABOUT[action]}\n\n{AFTERWARDS}")(wrapped)


def _say(
    fleet: Fleet,
    action: str,
    gpu: str,
    node: str,
    note: str,
    author: str | None,
    key_file: str | None,
    wait: str,
    rack: str = "",
    all_: bool = False,
    weight: float | None = None,
    lasts: str = FOREVER,
) -> int:
    if (bool(gpu or node), bool(rack), all_).count(True) != 1:
        ways = ["--gpu", NODE, *(["--rack"] if action in RACKS else []), *([ALL] if action in WIDE else [])]
        raise UsageProblem(
            "whom it is about has to be said once", f"name one of {', '.join(ways)}; --node beside --gpu is its node"
        )
    from pipeline.operators.saying import Target, say
    from pipeline.settings import parse_duration
    from schemas.records import encode

    lasts_s = None if lasts == FOREVER else parse_duration(lasts)
    if lasts_s is not None and not 0.0 < lasts_s <= 31 * 86_400:
        raise UsageProblem(f"--for: {lasts} is not between 0 and 31 days", "as in 90m, 4h or 7d")
    outcome = say(
        fleet,
        Target(gpu, node, rack, all_),
        key_file,
        lasts_s=lasts_s,
        author=author,
        wait_s=parse_duration(wait),
        recorded=lambda word: click.echo(encode(word)),
        action=action,
        weight=weight,
        note=note,
    )
    if outcome is None:
        return 0
    if outcome.taken is None:
        why = f": {outcome.text}" if outcome.text else f" within {parse_duration(wait):g} s"
        click.echo(f"not known: nothing was heard of it{why}; `gpu-vitals cases` shows what holds", err=True)
        return 0
    click.echo(f"{'taken' if outcome.taken else 'refused'}: {outcome.text}", err=True)
    return 0 if outcome.taken else 1


commands = {action: _command(action) for action in ABOUT}
