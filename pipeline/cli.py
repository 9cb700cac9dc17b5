"""The command line. A command's module is loaded only when it is named: `--help` needs no numpy, no rich."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from pipeline.errors import UsageProblem, most_similar

SAID = {  # an operator's words: all in the module pipeline.commands.say
    "hold": "Hold back removals and resets, there or everywhere.",
    "release": "End a hold, or a storm's.",
    "drain": "Take GPUs out of service.",
    "undrain": "Give back what was drained.",
    "override": "Set a GPU's weight, whatever is judged.",
    "end-override": "Let the judgement count again.",
    "restore": "Put a GPU back: clears its faults, ends its case.",
    "maintenance": "Announce planned work.",
    "end-maintenance": "End planned work early.",
    "proceed": "Let a case go on that waits for an operator.",
}
COMMANDS = {  # name: its line in `gpu-vitals --help`; the module pipeline.commands.NAME (- as _) exports `command`
    "run": "Judge a fleet continuously: sources to decisions.",
    "scan": "Judge once: this machine, kernel logs, exporter pages.",
    "xid": "Find Xids in kernel logs; explain Xid codes.",
    "policy": "Show, check and apply policies.",
    "simulate": "Write a recording of a simulated fleet.",
    "replay": "Run the stages over a recording, or over Kafka's topics.",
    "explain": "Say why a GPU has the weight it has.",
    "report": "Report on a fleet over a week, or any time.",
    "worker": "Take a share of the stages' work from Kafka.",
    "agent": "Publish what this node's sources see to Kafka.",
    "sink": "Show the world what the pipeline says, from Kafka.",
    "topics": "Plan, create, check and grow Kafka's topics.",
    "cases": "List the GPUs that are out, and what holds back others.",
    **SAID,
    "commands": "Make keys; tell nodes to reset or diagnose a GPU.",
    "revalidations": "List outputs to check again; answer for them.",
    "tail": "Print the records of a topic on Kafka.",
    "dead-letters": "See what could not be understood; try it again.",
}

HELP = """GPU Vitals judges the health of GPU fleets from their telemetry and kernel logs.

\b
    $ gpu-vitals run                          this machine's GPUs, live; without any a simulated fleet with faults
    $ gpu-vitals run --source simulator:64    a simulated fleet, wherever
    $ gpu-vitals scan                         this machine's GPUs, once
    $ gpu-vitals scan --kernel-log /var/log/kern.log
    $ gpu-vitals xid explain 48

All of it observes; nothing is reset, drained or restarted, unless an operator enables an agent's commands.
"""

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_READER_GONE = 141  # as the shell reports SIGPIPE: neither "all healthy" nor "something is not"


class LazyGroup(click.Group):
    """A group whose commands are imported when they are invoked, listed without that."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        if name in SAID:
            said: click.Command = importlib.import_module("pipeline.commands.say").commands[name]
            return said
        command: click.Command = importlib.import_module(f"pipeline.commands.{name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            similar = most_similar(name, COMMANDS)
            raise UsageProblem(
                f"no such command: {name}",
                f"a command with a similar name exists: `{similar}`"
                if similar
                else f"the commands are {', '.join(COMMANDS)}",
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:  # who read our output has seen enough
            silence()
            return EXIT_READER_GONE

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpu-vitals", prog_name="gpu-vitals", message="%(prog)s %(version)s")
def cli() -> None:
    pass


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: a command's own code, 2 on a problem of usage or input, 130 on ^C."""
    try:
        result = cli.main(args, prog_name="gpu-vitals", standalone_mode=False)
    except UsageProblem as problem:
        fail(problem)
    except click.exceptions.NoArgsIsHelpError as page:
        page.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as problem:
        fail(in_our_words(problem))
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(result if isinstance(result, int) else 0)


def silence() -> None:
    """What is still buffered for a reader that went away goes nowhere, without a complaint at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(problem: UsageProblem) -> NoReturn:
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(EXIT_USAGE)


def in_our_words(problem: click.ClickException) -> UsageProblem:
    """Click's complaint in the form all our errors have."""
    if isinstance(problem, click.NoSuchOption):
        text = f"no such option: {problem.option_name}"
        if problem.possibilities:
            similar = most_similar(problem.option_name, problem.possibilities) or problem.possibilities[0]
            return UsageProblem(text, f"an option with a similar name exists: `{similar}`")
    else:
        text = " ".join(problem.format_message().rstrip(".").split())
        text = (text[:1].lower() + text[1:]).replace("integer range", "integer").replace("float range", "number")
    path = problem.ctx.command_path if isinstance(problem, click.UsageError) and problem.ctx else "gpu-vitals"
    return UsageProblem(text, f"`{path} --help` lists what it takes")
