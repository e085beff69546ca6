"""`overlayctl lab edge`: servers that exist already, for trying the provider `edge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from proactive_tasks.console.output import Output, OutputOption, answer
from proactive_tasks.overlay.errors import InputError

edge_app = typer.Typer(
    help="Servers that exist already, for trying the provider edge.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

SitesArgument = Annotated[list[str], typer.Argument(metavar="SITE...", help="Names of the servers.")]
LabOption = Annotated[str, typer.Option("--lab", help="The lab that they are in.")]


@edge_app.command("up", epilog="Example: overlayctl lab edge up campus --key ~/.ssh/id_ed25519.pub")
def up(
    sites: SitesArgument,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="File with the public key that they admit; else that of OVERLAY_EDGE_KEY."),
    ] = None,
    lab: LabOption = "clouds",
    lan: Annotated[str, typer.Option("--lan", help="The LAN of the first; each further one has the next.")] = "",
    hosts: Annotated[int, typer.Option("--hosts", min=0, max=200, help="Hosts on each LAN.")] = 1,
    nat: Annotated[bool, typer.Option("--nat", help="Put them behind a NAT that lets in SSH alone.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Boot servers that no driver made; print their entries for a specification."""
    from proactive_tasks.lab import edge
    from proactive_tasks.overlay.checks import prefix

    public, network = _public_line(key), prefix(lan) if lan else edge.LAN
    made = []
    for name in sites:
        made.append(
            edge.up(
                name,
                public,
                lab=lab,
                lan=network,
                hosts=hosts,
                nat=nat,
                progress=lambda line: typer.echo(line, err=True),
            )
        )
        network = type(network)((int(network.broadcast_address) + 1, network.prefixlen))
    entries: list[dict[str, Any]] = [each.site() for each in made]
    found = [
        {**entry, "lab": lab, "hosts": {name: str(at) for name, at in each.hosts.items()}}
        for entry, each in zip(entries, made, strict=True)
    ]
    answer(output, found, lambda: _yaml(entries))


@edge_app.command("down", epilog="Example: overlayctl lab edge down campus")
def down(sites: SitesArgument, lab: LabOption = "clouds", output: OutputOption = Output.TABLE) -> None:
    """Remove such servers with their LANs, whatever is on them."""
    from proactive_tasks.lab import edge

    removed = [line for name in sites for line in edge.down(name, lab=lab)]
    answer(output, {"lab": lab, "removed": removed}, lambda: "".join(f"removed {line}\n" for line in removed) or "none")


def _public_line(path: Path | None) -> str:
    if path is not None:
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"key file {path} cannot be read: {error}") from error
    from proactive_tasks.clouds.edge.ssh import keys

    own = keys()[0]
    return f"{own.get_name()} {own.get_base64()}"


def _yaml(entries: list[dict[str, Any]]) -> str:
    import yaml

    return yaml.safe_dump({"sites": entries}, sort_keys=False, width=1000)
