"""`overlayctl lab`: look at a lab, use its machines, break them and its Internet."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proactive_tasks.console.clouds import cloud_app
from proactive_tasks.console.output import Output, OutputOption, YesOption, answer, confirm
from proactive_tasks.overlay.errors import InputError, UnknownObjectError

if TYPE_CHECKING:
    from proactive_tasks.lab.lab import Lab, SiteStatus

lab_app = typer.Typer(
    help="Look at a lab, use its machines, break them and its Internet.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
lab_app.add_typer(cloud_app, name="cloud")

OverlayOption = Annotated[str, typer.Option("--overlay", help="Whose lab; default: the only one there is.")]
SiteArgument = Annotated[str, typer.Argument(metavar="SITE", help="A site of the lab.")]
GatewayArgument = Annotated[str, typer.Argument(metavar="SITE/gateway", help="A gateway of the lab.")]

TIME = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)", re.ASCII)
RATE = re.compile(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit)", re.ASCII)
SHARE = re.compile(r"(\d+(?:\.\d+)?)(%)", re.ASCII)


@lab_app.command("ls", epilog="Example: overlayctl lab ls --output json")
def ls(
    overlay: OverlayOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """List machines, hosts, legs and cuts."""
    from proactive_tasks.lab import Lab, labs
    from proactive_tasks.lab.requirements import require

    require()
    found = [_lab(overlay)] if overlay else [Lab(name) for name in labs()]
    answer(output, [described(lab) for lab in found], lambda: _tables(found))


@lab_app.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: overlayctl lab exec site-1/host1 -- ping -c 3 10.250.2.1",
)
def execute(
    machine: Annotated[str, typer.Argument(metavar="SITE/gateway|SITE/hostN", help="Where.")],
    command: Annotated[list[str], typer.Argument(metavar="[--] COMMAND...", help="What, with its arguments.")],
    overlay: OverlayOption = "",
) -> None:
    """Run a command in a machine; its exit code is the answer's."""
    from proactive_tasks.lab.processes import environment

    argv = _lab(overlay).argv(machine, command[1:] if command[0] == "--" else command)
    # The command takes this one's place: terminal, signals, exit code.
    os.execvpe(argv[0], argv, environment())  # noqa: S606 - an argument list, as everywhere


@lab_app.command("link", epilog="Example: overlayctl lab link site-1 --delay 20ms --rate 100mbit --loss 1%")
def link(
    site: SiteArgument,
    delay: Annotated[str, typer.Option(help="One way, e.g. 20ms; 0ms takes it away.")] = "",
    jitter: Annotated[str, typer.Option(help="At most so much more or less, e.g. 2ms.")] = "",
    rate: Annotated[str, typer.Option(help="Each way, e.g. 100mbit; 0mbit lifts the limit.")] = "",
    loss: Annotated[str, typer.Option(help="Each way, e.g. 1%.")] = "",
    nat: Annotated[bool | None, typer.Option("--nat/--no-nat", help="Put the site behind a NAT.")] = None,
    udp_blocked: Annotated[bool | None, typer.Option("--block-udp/--allow-udp", help="Pass no UDP.")] = None,
    down: Annotated[bool | None, typer.Option("--down/--up", help="Pass nothing at all.")] = None,
    overlay: OverlayOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Change what a site's way into the Internet is like, while its machine runs on."""
    changes: dict[str, Any] = {
        "delay_ms": _measure("--delay", delay, TIME, {"us": 0.001, "ms": 1.0, "s": 1000.0}),
        "jitter_ms": _measure("--jitter", jitter, TIME, {"us": 0.001, "ms": 1.0, "s": 1000.0}),
        "rate_mbit": _measure("--rate", rate, RATE, {"kbit": 0.001, "mbit": 1.0, "gbit": 1000.0}),
        "loss": _measure("--loss", loss, SHARE, {"%": 0.01}),
        "nat": nat,
        "udp_blocked": udp_blocked,
        "down": down,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        raise InputError(f"leg of {site}: nothing to change was named; see 'lab link --help'")
    lab = _lab(overlay)
    leg = lab.link(site, **changes)
    answer(output, {"overlay": lab.overlay, "site": site, "leg": asdict(leg)}, lambda: f"leg of {site}: {leg}")


@lab_app.command("cut", epilog="Example: overlayctl lab cut paris lyon")
def cut(
    site: SiteArgument, other: SiteArgument, overlay: OverlayOption = "", output: OutputOption = Output.TABLE
) -> None:
    """Let nothing pass between the public addresses of two sites."""
    lab = _lab(overlay)
    lab.cut(site, other)
    answer(output, _cuts(lab), lambda: f"{site} and {other}: cut; 'lab heal {site} {other}' undoes it")


@lab_app.command("heal", epilog="Example: overlayctl lab heal paris lyon")
def heal(
    site: SiteArgument, other: SiteArgument, overlay: OverlayOption = "", output: OutputOption = Output.TABLE
) -> None:
    """Undo a cut."""
    lab = _lab(overlay)
    lab.heal(site, other)
    answer(output, _cuts(lab), lambda: f"{site} and {other}: not cut")


@lab_app.command("kill", epilog="Example: overlayctl lab kill paris/gateway --disk")
def kill(
    machine: GatewayArgument,
    overlay: OverlayOption = "",
    disk: Annotated[bool, typer.Option("--disk", help="Destroy its disk, too.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Power a gateway off, no goodbye."""
    lab = _lab(overlay)
    lab.kill(machine, disk=disk)
    then = "its disk destroyed" if disk else f"'lab boot {machine}' starts it"
    answer(output, {"overlay": lab.overlay, "machine": machine, "state": "off"}, lambda: f"{machine}: off; {then}")


@lab_app.command("boot", epilog="Example: overlayctl lab boot paris/gateway")
def boot(machine: GatewayArgument, overlay: OverlayOption = "", output: OutputOption = Output.TABLE) -> None:
    """Start a gateway that is off, from its own disk."""
    lab = _lab(overlay)
    lab.boot(machine)
    answer(output, {"overlay": lab.overlay, "machine": machine, "state": "running"}, lambda: f"{machine}: on")


@lab_app.command("destroy", epilog="Example: overlayctl lab destroy --overlay demo --yes")
def destroy(overlay: OverlayOption = "", yes: YesOption = False, output: OutputOption = Output.TABLE) -> None:
    """Remove a lab whatever state it is in, without telling the overlay's store."""
    lab = _lab(overlay)
    confirm(f"remove the lab of {lab.overlay} with all its machines?", yes=yes)
    removed = lab.destroy(lambda line: typer.echo(line, err=True))
    answer(
        output,
        {"overlay": lab.overlay, "removed": removed},
        lambda: "".join(f"removed {line}\n" for line in removed) or "nothing was left of it",
    )


def described(lab: Lab) -> dict[str, Any]:
    """A lab as `ls --output json` tells it."""
    sites = [status for status in map(lab.status, lab.sites()) if status]
    return {
        "overlay": lab.overlay,
        "controller": lab.namespace("controller"),
        "cuts": [list(pair) for pair in lab.cuts()],
        "clouds": lab.clouds(),
        "sites": [
            {
                "site": status.site,
                "state": "running" if status.running else "off",
                "public_address": str(status.public_address),
                "subnet": str(status.subnet),
                "leg": asdict(status.conditions),
                "machines": _machines(lab, status),
            }
            for status in sites
        ],
    }


def _cuts(lab: Lab) -> dict[str, Any]:
    return {"overlay": lab.overlay, "cuts": [list(pair) for pair in lab.cuts()]}


def _machines(lab: Lab, status: SiteStatus) -> list[dict[str, str]]:
    addresses = [status.gateway, *status.hosts]
    names = [f"{status.site}/gateway", *lab.hosts(status.site)]
    return [
        {"machine": name, "address": str(address), "namespace": lab.namespace(name)}
        for name, address in zip(names, addresses, strict=True)
    ]


def _tables(labs: Sequence[Lab]) -> str:
    from proactive_tasks.reports.tables import render, table

    text = ""
    for lab in labs:
        text += "".join(f"lab {lab.overlay}: emulated {name}; see 'lab cloud ls'\n" for name in lab.clouds())
        if not lab.sites() and lab.clouds():
            continue
        rows = []
        for status in filter(None, map(lab.status, lab.sites())):
            machines = "\n".join(f"{each['machine']} {each['address']}" for each in _machines(lab, status))
            state = "running" if status.running else "off"
            rows.append((status.site, state, status.public_address, status.conditions, machines))
        text += render(table(f"Lab of {lab.overlay}", ("site", "state", "public address", "leg", "machines"), rows))
        text += "".join(f"cut: {a} and {b}\n" for a, b in lab.cuts())
    return text or "no lab on this machine"


def _lab(overlay: str) -> Lab:
    """The lab of that overlay, or the only one there is."""
    from proactive_tasks.lab import Lab, labs
    from proactive_tasks.lab.requirements import require

    require()
    there = labs()
    if not overlay:  # emulated clouds are in labs of their own, beside the overlay's
        there = [name for name in there if Lab(name).sites()] or there
    if overlay and overlay not in there:
        raise UnknownObjectError(f"overlay {ascii(overlay)[:60]}: it has no lab on this machine; see 'lab ls'")
    if not overlay and len(there) != 1:
        names = f"name one of {', '.join(there)} with --overlay" if there else "'overlayctl deploy' makes one"
        raise InputError(f"{len(there) or 'no'} labs on this machine: {names}")
    return Lab(overlay or there[0])


def _measure(option: str, text: str, form: re.Pattern[str], units: dict[str, float]) -> float | None:
    """A number with its unit, in the lab's own unit; None when the option was not given."""
    if not text:
        return None
    match = form.fullmatch(text)
    if not match:
        raise InputError(
            f"{option} {ascii(text)[:40]}: write a number and one of {', '.join(units)}, e.g. 20{next(iter(units))}"
        )
    return float(match[1]) * units[match[2]]
