"""`overlayctl lab cloud`: emulated clouds, whose servers are machines of a lab."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proactive_tasks.console.output import Output, OutputOption, answer
from proactive_tasks.overlay.errors import InputError, UnknownObjectError

if TYPE_CHECKING:
    from proactive_tasks.lab.cloud.fabric import Fabric, ServerStatus

CLOUDS = ("aws", "azure", "openstack")
OPTIONS: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}

cloud_app = typer.Typer(help="Emulated clouds, whose servers are machines of a lab.", **OPTIONS)

LabOption = Annotated[str, typer.Option("--lab", envvar="OVERLAY_LAB", help="The lab in which the clouds are.")]
MachinesOption = Annotated[bool, typer.Option("--machines/--no-machines", help="Whether its servers run.")]
ProxyOption = Annotated[
    int,
    typer.Option(envvar="OVERLAY_LAB_PROXY_PORT", min=1, max=65535, help="Where the lab's SSH proxy is served."),
]


def _mount(cloud: str, port: int) -> None:
    """Give a cloud its commands; `port` is its default one, 0 where it has ports of its own."""
    app = typer.Typer(help=f"The emulated {cloud}.", **OPTIONS)
    cloud_app.add_typer(app, name=cloud)

    def up(
        lab: LabOption = "clouds",
        port: int = 0,
        proxy_port: ProxyOption = 4600,
        machines: MachinesOption = True,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Start it, and print the variables by which it is found; one that runs is left as it is."""
        from proactive_tasks.lab.cloud import registry

        made = registry.emulator(cloud, _checked(lab), port=port, proxy_port=proxy_port, machines=machines)
        variables = dict(made.up(lambda line: typer.echo(line, err=True)))
        answer(output, variables, lambda: _exports(variables))

    said = f"Where its API is served; 0: where it is already, or {port}."
    variable = f"OVERLAY_LAB_{cloud.upper()}_PORT"
    up.__annotations__["port"] = Annotated[int, typer.Option(envvar=variable, min=0, max=65535, help=said)]

    def up_by_itself(
        lab: LabOption = "clouds",
        proxy_port: ProxyOption = 4600,
        machines: MachinesOption = True,
        output: OutputOption = Output.TABLE,
    ) -> None:
        up(lab, 0, proxy_port, machines, output)

    up_by_itself.__doc__ = up.__doc__

    def down(lab: LabOption = "clouds", output: OutputOption = Output.TABLE) -> None:
        """Stop it and remove its network and its servers."""
        from proactive_tasks.lab.cloud import registry
        from proactive_tasks.lab.requirements import require

        require(machines=False)
        removed = registry.emulator(cloud, _checked(lab)).down()
        lines = "".join(f"removed {line}\n" for line in removed) or "nothing was left of it"
        answer(output, {"lab": lab, "cloud": cloud, "removed": removed}, lambda: lines)

    call = f"overlayctl lab cloud {cloud}"
    example = f'Example: {call} up; in a shell, to use it from there: eval "$({call} up)"'
    app.command("up", epilog=example)(up if port else up_by_itself)
    app.command("down", epilog=f"Example: {call} down")(down)


for _cloud, _port in {"aws": 4601, "azure": 4602, "openstack": 0}.items():
    _mount(_cloud, _port)


@cloud_app.command("ls", epilog="Example: overlayctl lab cloud ls --output json")
def ls(lab: LabOption = "clouds", output: OutputOption = Output.TABLE) -> None:
    """List the emulated clouds of a lab and their servers."""
    from proactive_tasks.lab.requirements import require

    require(machines=False)
    found = {fabric.cloud: fabric.servers() for fabric in _fabrics(lab)}
    servers = [asdict(each) for servers in found.values() for each in servers]
    values = {"lab": lab, "clouds": list(found), "servers": servers}
    answer(output, values, lambda: _table(lab, found))


@cloud_app.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: overlayctl lab cloud exec demo--paris--host1 -- ping -c 3 10.2.0.254",
)
def execute(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Where: a server's label or identifier.")],
    command: Annotated[list[str], typer.Argument(metavar="[--] COMMAND...", help="What, with its arguments.")],
    lab: LabOption = "clouds",
) -> None:
    """Run a command in a server; its exit code is the answer's."""
    from proactive_tasks.lab.processes import environment
    from proactive_tasks.lab.requirements import require

    require(machines=False)
    fabric, status = find(_fabrics(lab), server, lab)
    argv = fabric.argv(status, command[1:] if command[0] == "--" else command)
    os.execvpe(argv[0], argv, environment())  # noqa: S606 - an argument list, as everywhere


def find(fabrics: Sequence[Fabric], server: str, lab: str) -> tuple[Fabric, ServerStatus]:
    """The server of that label or identifier.

    Raises:
        InputError: there is none, or more than one.
    """
    found = [(fabric, each) for fabric in fabrics for each in fabric.servers() if server in {each.label, each.name}]
    if not found:
        raise UnknownObjectError(f"server {ascii(server)[:60]}: lab {lab} has none; see 'lab cloud ls --lab {lab}'")
    if len(found) > 1:
        names = ", ".join(f"{each.name} ({each.cloud})" for _, each in found)
        raise InputError(f"server {ascii(server)[:60]}: {len(found)} have this label; name one of {names}")
    return found[0]


def _fabrics(lab: str) -> list[Fabric]:
    from proactive_tasks.lab import Lab
    from proactive_tasks.lab.cloud.fabric import Fabric

    return [Fabric(lab, cloud) for cloud in Lab(_checked(lab)).clouds()]


def _checked(lab: str) -> str:
    from proactive_tasks.lab.names import LabNames

    return LabNames(lab).overlay


def _exports(variables: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def _table(lab: str, found: Mapping[str, Sequence[ServerStatus]]) -> str:
    from proactive_tasks.reports.tables import render, table

    rows = [
        (cloud, each.label, each.name, each.state, ", ".join(each.private), ", ".join(each.public), each.namespace)
        for cloud, servers in found.items()
        for each in servers
    ]
    columns = ("cloud", "server", "id", "state", "private", "public", "namespace")
    text = render(table(f"Clouds in lab {lab}: {', '.join(found)}", columns, rows))
    return text if found else f"no cloud in lab {lab}; 'overlayctl lab cloud aws up' starts one"
