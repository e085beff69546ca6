"""`overlayctl`: the overlay from the command line, with the embedded engine in a scheduler's place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from proactive_tasks import __version__
from proactive_tasks.console import script
from proactive_tasks.console.edge import edge_app
from proactive_tasks.console.lab import lab_app
from proactive_tasks.console.output import Output, OutputOption, YesOption, answer, confirm
from proactive_tasks.overlay.errors import InputError, UnknownObjectError

if TYPE_CHECKING:
    from proactive_tasks.console.outcome import Outcome
    from proactive_tasks.store import Store
    from proactive_tasks.store.records import Event

CHANGES = 3

app = typer.Typer(
    name="overlayctl",
    help="Build and keep an inter-site network overlay: one gateway per site, encrypted tunnels, one IP plan.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=script.SETTINGS,
    epilog="Example: overlayctl deploy overlay.yaml && overlayctl status",
)
app.add_typer(lab_app, name="lab")
lab_app.add_typer(edge_app, name="edge")

OverlayOption = Annotated[str, typer.Option("--overlay", help="The overlay; default: the only one there is.")]
SpecArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The specification, e.g. overlay.yaml.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"overlayctl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    store: Annotated[
        str, typer.Option("--store", envvar="OVERLAY_STORE", help="URL of the store (SQLite or PostgreSQL).")
    ] = "",
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options that all commands share."""
    if store:
        os.environ["OVERLAY_STORE"] = store


@app.command(epilog="Example: overlayctl plan overlay.yaml --detailed-exitcode")
def plan(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Default: what was deployed last.")] = None,
    overlay: OverlayOption = "",
    prune: Annotated[bool, typer.Option("--prune", help="Plan to delete sites that left the file.")] = False,
    detailed_exitcode: Annotated[bool, typer.Option(help="Exit with 3 when there are changes.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a deployment would change, and change nothing."""
    from proactive_tasks.console.planning import plan as make_plan

    with _store() as store:
        found = make_plan(store, file, overlay, prune=prune)
    answer(output, found.as_json(), found.table)
    if detailed_exitcode and found.changes:
        raise typer.Exit(CHANGES)


@app.command(epilog="Example: overlayctl deploy overlay.yaml --yes --output json")
def deploy(
    file: SpecArgument,
    prune: Annotated[bool, typer.Option("--prune", help="Also remove sites that left the file.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Change nothing: show plan, calls to providers and cost."),
    ] = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the overlay what a specification says; a second run changes nothing."""
    if dry_run:
        from proactive_tasks.console.planning import plan as make_plan

        with _store() as store:
            found = make_plan(store, file, "", prune=prune, dry_run=True)
        answer(output, found.as_json(), found.table)
        return
    from proactive_tasks.console.server import fork_server

    with fork_server() as server, _store() as store:
        from proactive_tasks.console import operations
        from proactive_tasks.console.planning import plan as make_plan

        found = make_plan(store, file, "", prune=prune, live=not yes)
        text = file.read_text(encoding="utf-8")  # now: what is confirmed is carried out, whatever becomes of the file
        if found.changes:
            typer.echo(found.table(), err=True)
            confirm("carry out this plan?", yes=yes)
        _finish(output, operations.deploy(store, server, text, prune=prune))


@app.command("scale-out", epilog="Example: overlayctl scale-out edge-4 --provider lab --hosts 2")
def scale_out(
    site: Annotated[str, typer.Argument(help="Name of the new site.")],
    provider: Annotated[str, typer.Option(help="Its kind of cloud.")],
    region: Annotated[str, typer.Option(help="Its region.")] = "",
    hosts: Annotated[
        int | None, typer.Option(min=0, max=200, help="Its application hosts; default: 1 in a lab, none elsewhere.")
    ] = None,
    prefix: Annotated[
        list[str] | None, typer.Option(metavar="PREFIX", help="Network that it brings itself; may be repeated.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Further option of the provider; may be repeated.")
    ] = None,
    origin: Annotated[str, typer.Option(help="Who asks: elastic or plan.")] = "elastic",
    overlay: OverlayOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a site to a living overlay; nothing that flows is disturbed."""
    from proactive_tasks.console.server import fork_server

    with fork_server() as server, _store() as store:
        from proactive_tasks.console import operations

        wanted = {"region": region, "hosts": hosts, "prefixes": prefix or [], "options": option or []}
        variables = operations.new_site(store, overlay, site, provider, wanted, origin)
        confirm(f"add site {site} ({provider}) to overlay {variables['OVERLAY']}?", yes=yes)
        _finish(output, operations.run(store, server, "Scale_Out_Overlay", variables))


@app.command("hosts", epilog="Example: overlayctl hosts aws-frankfurt 2 --yes")
def attach_hosts(
    site: Annotated[str, typer.Argument(help="The site.")],
    number: Annotated[int, typer.Argument(min=0, max=200, help="How many application hosts it is to have.")],
    overlay: OverlayOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring the application hosts of a site to a number."""
    from proactive_tasks.console.server import fork_server

    with fork_server() as server, _store() as store:
        from proactive_tasks.console import operations

        variables = operations.known_site(store, overlay, site)
        confirm(f"bring the application hosts of {site} to {number}?", yes=yes)
        _finish(output, operations.run(store, server, "Attach_Hosts", {**variables, "HOSTS": str(number)}))


@app.command("scale-in", epilog="Example: overlayctl scale-in edge-4 --yes")
def scale_in(
    sites: Annotated[list[str], typer.Argument(metavar="SITE...", help="Names of the sites to remove.")],
    origin: Annotated[str, typer.Option(help="Who asks: empty for a person, elastic or plan for a trigger.")] = "",
    overlay: OverlayOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove sites from a living overlay, and everything that was made for them."""
    from proactive_tasks.console.server import fork_server

    with fork_server() as server, _store() as store:
        from proactive_tasks.console import operations

        variables = operations.leaving_sites(store, overlay, sites, origin)
        confirm(f"remove {', '.join(sites)} from overlay {variables['OVERLAY']}?", yes=yes)
        _finish(output, operations.run(store, server, "Scale_In_Overlay", variables))


@app.command(epilog="Example: overlayctl replace paris --yes")
def replace(
    site: Annotated[str, typer.Argument(help="The site whose gateway is gone.")],
    overlay: OverlayOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a new machine in the place of a gateway that is gone; addresses stay, the old certificate is revoked."""
    from proactive_tasks.console.server import fork_server

    with fork_server() as server, _store() as store:
        from proactive_tasks.console import operations

        variables = operations.known_site(store, overlay, site)
        confirm(f"replace the gateway of {site}? Its disk is given up.", yes=yes)
        _finish(output, operations.run(store, server, "Repair_Overlay", variables))


@app.command(epilog="Example: overlayctl measure --samples 100")
def measure(
    overlay: OverlayOption = "",
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Echo requests per direction.")] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify and measure every link."""
    from proactive_tasks.console.server import fork_server

    with fork_server() as server, _store() as store:
        from proactive_tasks.console import operations

        name = operations.context(store).overlay(overlay)
        _finish(output, operations.run(store, server, "Measure_Overlay", {"OVERLAY": name, "SAMPLES": str(samples)}))


@app.command(epilog="Example: overlayctl maintain")
def maintain(
    overlay: OverlayOption = "",
    new_authority: Annotated[
        bool, typer.Option("--new-authority", help="Let the authority give way now; two further runs complete that.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Renew certificates, revocation list and authority where their time has come."""
    from proactive_tasks.console.server import fork_server

    with fork_server() as server, _store() as store:
        from proactive_tasks.console import operations

        name = operations.context(store).overlay(overlay)
        _finish(output, operations.maintain(store, server, name, new_authority=new_authority))


@app.command(epilog="Example: overlayctl destroy --overlay demo --yes")
def destroy(overlay: OverlayOption = "", yes: YesOption = False, output: OutputOption = Output.TABLE) -> None:
    """Remove an overlay and prove that nothing of it is left."""
    from proactive_tasks.console.server import fork_server

    with fork_server() as server, _store() as store:
        from proactive_tasks.console import operations

        name = operations.context(store).overlay(overlay)
        confirm(f"destroy overlay {name} and every machine of it?", yes=yes)
        _finish(output, operations.run(store, server, "Destroy_Overlay", {"OVERLAY": name}))


@app.command(epilog="Example: overlayctl orphans --provider aws --region eu-central-1")
def orphans(
    provider: Annotated[list[str] | None, typer.Option(help="Only of this one; may be repeated.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Look there, too; may be repeated.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what providers hold of this package that the store does not know; exit with 3 when there is any."""
    from proactive_tasks.console.orphans import orphans as find
    from proactive_tasks.console.orphans import orphans_table

    with _store() as store:
        found = find(store, provider or [], region or [])
    answer(output, [each._asdict() for each in found], lambda: orphans_table(found))
    if found:
        raise typer.Exit(CHANGES)


@app.command(epilog="Example: overlayctl networks --output json")
def networks(overlay: OverlayOption = "", output: OutputOption = Output.TABLE) -> None:
    """List the network and subnet of each site, as its provider names them: where further machines are started."""
    from proactive_tasks.console.networks import networks as find
    from proactive_tasks.console.networks import networks_table

    with _store() as store:
        rows = find(store, overlay)
    answer(output, rows, lambda: networks_table(rows))


@app.command(epilog="Example: overlayctl status --output json")
def status(overlay: OverlayOption = "", output: OutputOption = Output.TABLE) -> None:
    """Ask every gateway how its links are, and show them with the figures measured last."""
    from proactive_tasks.console.status import status as ask

    with _store() as store:
        found = ask(store, overlay)
    answer(output, found.as_json(), found.table)


@app.command(epilog="Example: overlayctl overlays --output json")
def overlays(output: OutputOption = Output.TABLE) -> None:
    """List the overlays that the store knows."""
    with _store() as store:
        rows = [{"overlay": name, "sites": len(store.sites(name))} for name in store.overlays()]
    answer(output, rows, lambda: "\n".join(f"{row['overlay']}: {row['sites']} sites" for row in rows) or "none")


@app.command(epilog="Example: overlayctl events --limit 20")
def events(
    overlay: OverlayOption = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the latest.")] = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show who changed what, when; events outlive their overlay."""
    with _store() as store:
        found = store.events(overlay or None, limit=limit)
        if overlay and not found:
            raise UnknownObjectError(f"overlay {overlay!r} has no events; overlayctl overlays lists those there are")
    answer(output, [asdict(event) for event in found], lambda: _events_table(found))


@app.command(epilog="Example: overlayctl run workflows/Measure_Overlay.xml -v OVERLAY=demo")
def run(
    workflow: Annotated[Path, typer.Argument(help="The job descriptor, an XML file.")],
    variable: Annotated[
        list[str] | None, typer.Option("-v", "--variable", metavar="NAME=VALUE", help="As often as needed.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="How many tasks run at once.")] = 8,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a job descriptor with the embedded engine: 0 all went well, 1 the job or a task failed, 2 it was refused."""
    from proactive_tasks.console import jobs

    try:
        job, lines = jobs.run(workflow, variable or (), nodes=nodes, shown=output is Output.TABLE)
    except InputError as error:
        if output is Output.TABLE:
            raise
        jobs.print_line({"refused": str(error)})
        raise typer.Exit(script.BAD_INPUT) from error
    if output is Output.JSON:
        jobs.print_line(jobs.job_json(job, lines))
    else:
        answer(output, None, lambda: jobs.job_table(job))
    if causes := jobs.causes(job, lines):
        for line in causes:
            script.tell("overlayctl", line)
        raise typer.Exit(script.FAILED)


@app.command(epilog="Example: overlayctl serve --port 8080")
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any.")] = 8080,
    user: Annotated[str, typer.Option(help="Who may log in.")] = "admin",
    password_file: Annotated[
        Path | None,
        typer.Option(help="Holds the password; default: OVERLAY_ENDPOINT_PASSWORD, else one is made and kept."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=1000, help="How many tasks run at once.")] = 8,
    output: OutputOption = Output.TABLE,
) -> None:
    """Serve the scheduler's REST, resource manager and catalog with the embedded engine, until it is ended."""
    from proactive_tasks.console import serving

    serving.serve(host=host, port=port, user=user, password_file=password_file, nodes=nodes, output=output)


@app.command("jobs", epilog="Example: overlayctl jobs --limit 5")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest first.")] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the last jobs; INTERRUPTED is a job whose engine was killed: run it again."""
    from proactive_tasks.console import jobs
    from proactive_tasks.store.jobs import Jobs

    with jobs.open_database() as database:
        found = Jobs(database).jobs(limit)
    answer(output, jobs.jobs_json(found), lambda: jobs.jobs_table(found))


@app.command(epilog="Example: overlayctl logs 7 --task Report_Overlay")
def logs(
    job: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="The job's number.")],
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what the tasks of a job printed, and how they stand."""
    from proactive_tasks.console import jobs
    from proactive_tasks.store.jobs import Jobs

    with jobs.open_database() as database:
        records = Jobs(database)
        found = records.job(job), records.tasks(job), records.log(job, task)
        names = [each.name for each in found[1]]
        if task is not None and task not in names:
            raise UnknownObjectError(f"task {task!r}: job {job} has none of this name; it has: {', '.join(names)}")
    answer(output, jobs.log_json(*found), lambda: jobs.log_table(*found))


@app.command(epilog="Example: overlayctl backup overlay.backup")
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the whole store into one encrypted file."""
    from proactive_tasks.console import operations
    from proactive_tasks.store.backup import backup as write

    with _store() as store:
        write(store, file, operations.passphrase_for(store))
        values = {"file": str(file), "store": store.url, "overlays": store.overlays()}
    answer(output, values, lambda: f"{file}: written, encrypted with the passphrase")


@app.command(epilog="Example: overlayctl --store sqlite:////var/lib/overlay/store.db restore overlay.backup")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that backup wrote.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Fill an empty store from a backup; the living overlay is then known here."""
    from proactive_tasks.console import operations
    from proactive_tasks.store.backup import restore as read

    with _store() as store:
        read(store, file, operations.passphrase())
        values = {"file": str(file), "store": store.url, "overlays": store.overlays()}
    answer(output, values, lambda: f"{file}: restored; 'overlayctl plan' compares it with the world")


def _events_table(found: Sequence[Event]) -> str:
    from proactive_tasks.reports.tables import render, table

    columns = ("when", "who", "overlay", "what", "name", "action", "values")
    rows = [
        (f"{e.at.astimezone():%F %T}", e.actor, e.overlay, e.kind, e.name, e.action, dict(e.after or e.before))
        for e in found
    ]
    return render(table("Events", columns, rows))


def _store() -> Store:
    """The store that the options or the environment name, or the default one; made if it is not there."""
    from proactive_tasks.store import Store
    from proactive_tasks.store.location import default_store_url

    return Store.open(default_store_url())


def _finish(output: Output, outcome: Outcome) -> None:
    """Show what a job did; exit 1 unless it succeeded."""
    answer(output, outcome.as_json(), outcome.table)
    if not outcome.succeeded:
        for line in outcome.causes():
            script.tell("overlayctl", line)
        raise typer.Exit(script.FAILED)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line."""
    script.main(app, "overlayctl", arguments)


if __name__ == "__main__":
    main()
