"""`gpu-vitals commands`: keys, and commands to nodes that are signed with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.commands.kafka_options import kafka_options
from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.settings import Settings

NO_LIBRARY = "signing needs the package cryptography"
INSTALL = "pip install 'gpu-vitals[commands]'"


@click.group(name="commands")
def command() -> None:
    """Tell nodes to reset or diagnose a GPU, by commands that only the owner of a key can give.

    \b
        $ gpu-vitals commands keygen --id ops-2026 --out ops-2026.key >> keys.toml
        $ gpu-vitals commands send node7 diagnose --gpu GPU-34bf77d1-... --key ops-2026.key

    An agent does nothing of it unless its settings enable commands and name the public key: docs/agent/commands.md.
    """


@command.command(name="keygen")
@click.option("--id", "id_", required=True, metavar="NAME", help="What the key is called: letters, digits, - and _.")
@click.option("--out", required=True, metavar="FILE", help="A new file for the private half; mode 0600.")
def keygen(id_: str, out: str) -> None:
    """Make a key. Prints what goes into the file of public keys on each node."""
    import secrets

    from pipeline.node_commands.keys import ID, PrivateKey, public_stanza, write_private
    from schemas.commands import KEY_BYTES
    from schemas.signing import public_half

    if not ID.fullmatch(id_):
        raise UsageProblem(f"--id: no name of a key: {id_}", "up to 64 letters, digits, - and _")
    private = secrets.token_bytes(KEY_BYTES)
    try:
        public = public_half(private)
    except ImportError:
        raise UsageProblem(NO_LIBRARY, INSTALL) from None
    write_private(out, PrivateKey(id_, private))
    click.echo(public_stanza(id_, public), nl=False)


@command.command(name="send")
@click.argument("node")
@click.argument("action", type=click.Choice(["reset", "diagnose", "cancel"]))
@click.option("--gpu", "uuid", default="", metavar="UUID", help="Which GPU.")
@click.option("--key", "key_file", required=True, metavar="FILE", help="The private key, as keygen wrote it.")
@click.option("--expires", default="10m", metavar="DURATION", help="Not after that; an hour at most.  [default: 10m]")
@click.option("--level", type=click.IntRange(1, 4), default=2, help="Of the diagnostic.  [default: 2]")
@click.option("--command", "other", default="", metavar="ID", help="Which command to cancel.")
@click.option("--boot", default="", metavar="ID", help="Of the machine.  [default: as its inventory says]")
@click.option("--bdf", default="", metavar="ADDRESS", help="Of the GPU.  [default: as the inventory says]")
@click.option("--cluster", metavar="NAME", help="Of the node.  [default: default]")
@click.option("--case", default="", metavar="ID", help="The incident that it belongs to.")
@click.option("--author", metavar="NAME", help="Who wants it.  [default: this user's name]")
@kafka_options
def send(
    settings: Settings,
    node: str,
    action: str,
    uuid: str,
    key_file: str,
    expires: str,
    level: int,
    other: str,
    boot: str,
    bdf: str,
    cluster: str | None,
    case: str,
    author: str | None,
) -> None:
    """Tell NODE's agent what to do. Prints the id of the command, under which `tail observations` shows its result.

    What an agent answers: `gpu-vitals tail observations --node NODE --from 10m`, records of kind command-result.
    """
    import asyncio
    import getpass
    import uuid as uuids

    from pipeline.clock import wall_ms
    from pipeline.node_commands import issuing
    from pipeline.node_commands.keys import private_key
    from pipeline.settings import parse_duration
    from schemas.commands import signed
    from schemas.fencing import LIFE_MS_MAX
    from schemas.records import Command

    key = private_key(key_file)
    life_ms = round(1000 * parse_duration(expires))
    if not 0 < life_ms <= LIFE_MS_MAX:
        raise UsageProblem(f"--expires: {expires} is not between 0 and an hour", "nodes refuse what lives longer")
    if (action == "cancel") != bool(other):
        raise UsageProblem("--command goes with cancel, and cancel with it", "it names the command to cancel")
    if (action == "cancel") == bool(uuid):
        raise UsageProblem("--gpu goes with reset and diagnose, and they with it", "--gpu GPU-...")
    if uuid and not (boot and bdf):
        known = asyncio.run(issuing.inventory(settings.kafka, node))
        there = {gpu.uuid: gpu.bdf for gpu in known.gpus}
        if uuid not in there:
            raise UsageProblem(f"node {node} has no GPU {uuid}", f"it has {', '.join(sorted(there)) or 'none'}")
        boot, bdf = boot or known.boot, bdf or there[uuid]
    parameters: dict[str, int | str] = {}
    if action == "cancel":
        parameters["command"] = other
    elif action == "diagnose":
        parameters["level"] = level
    now_ms = wall_ms()
    unsigned = Command(
        ts=now_ms,
        cluster=cluster or settings.cluster,
        node=node,
        id=uuids.uuid4().hex,
        action=action,
        uuid=uuid,
        bdf=bdf,
        boot=boot,
        sequence=now_ms,
        expires=now_ms + life_ms,
        parameters=parameters,
        author=author or getpass.getuser(),
        case=case,
    )
    try:
        made = signed(unsigned, key.id, key.private)
    except ImportError:
        raise UsageProblem(NO_LIBRARY, INSTALL) from None
    asyncio.run(issuing.send(settings.kafka, made))
    click.echo(made.id)
