"""The commands that change an overlay: each checks its input, then runs a workflow on the embedded engine."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proactive_tasks.clouds import driver
from proactive_tasks.console.outcome import Outcome
from proactive_tasks.overlay.errors import InputError, SecretError
from proactive_tasks.overlay.model import Origin
from proactive_tasks.overlay.spec import load_spec, site_spec
from proactive_tasks.scheduler.context import PASSPHRASE, VAULT_KEY, Context, passphrase_of
from proactive_tasks.store import Store
from proactive_tasks.store.dead import free_dead_jobs

if TYPE_CHECKING:
    from proactive_tasks.engine.process import ForkServer


@cache
def context(store: Store) -> Context:
    """A task's surroundings, for what the command line itself reads."""
    return Context(store=store, passphrase=passphrase, progress=lambda _percent, _line: None)


@cache
def passphrase() -> str:
    """The passphrase from the environment, else asked on the terminal."""
    try:
        return passphrase_of({})
    except SecretError:
        if not sys.stdin.isatty():
            raise
    import getpass

    return getpass.getpass("passphrase of the overlay's keys: ")


def passphrase_for(store: Store) -> str:
    """The passphrase, if it opens anything here: what a backup is sealed with must be known when it is needed.

    Raises:
        SecretError: it is missing, or opens none of the overlays.
    """
    from proactive_tasks.gateway.access import SECRET

    found, wrong = passphrase(), None
    for name in store.overlays():
        if store.secret(name, SECRET) is None:
            continue  # nothing is sealed yet
        try:
            context(store).vault(name)
        except SecretError as error:
            wrong = error
        else:
            return found
    if wrong:
        raise wrong
    return found


def workflow(name: str) -> Path:
    """The job descriptor of that name, as it is installed or stands in a checkout."""
    from importlib.resources import files

    for folder in (Path(__file__).parents[2] / "workflows", Path(str(files("proactive_tasks"))) / "workflows"):
        if (folder / f"{name}.xml").is_file():
            return folder / f"{name}.xml"
    raise InputError(f"workflow {name}: not installed with this package; install it again")


def run(store: Store, server: ForkServer, name: str, variables: dict[str, str]) -> Outcome:
    """Run a workflow of the package; its progress goes to standard error."""
    from proactive_tasks.console.progress import Progress
    from proactive_tasks.engine.run import run as run_workflow

    overlay = variables.get("OVERLAY", "")
    credentials = {PASSPHRASE: passphrase()}
    providers = _providers(variables)
    if overlay and overlay in store.overlays():  # a wrong passphrase is told before anything starts
        credentials[VAULT_KEY] = context(store).vault(overlay).key.hex()
        providers |= {site.provider for site in store.sites(overlay)}
    for provider in sorted(providers):
        driver(provider).check()
    free_dead_jobs(store)
    with Progress(name, details=False) as progress:
        job = run_workflow(
            workflow(name),
            variables,
            store=store,
            credentials=credentials,
            observer=progress,
            server=server,
        )
    return Outcome.of(job, progress.lines, store, overlay)


def _providers(variables: dict[str, str]) -> set[str]:
    """The providers that a workflow will have to do with because of its variables."""
    named = {site.provider for site in load_spec(variables["SPEC"]).sites} if "SPEC" in variables else set()
    return named | ({variables["PROVIDER"]} if "PROVIDER" in variables else set())


def deploy(store: Store, server: ForkServer, text: str, *, prune: bool) -> Outcome:
    """Run Deploy_Overlay with a specification; with `prune`, then take out the sites that left it."""
    spec = load_spec(text)
    outcome = run(store, server, "Deploy_Overlay", {"SPEC": text, "OVERLAY": spec.overlay})
    gone = (
        [site.name for site in store.sites(spec.overlay) if site.origin is Origin.FILE and spec.site(site.name) is None]
        if outcome.succeeded and prune
        else []
    )
    if gone:
        return run(
            store, server, "Scale_In_Overlay", {"OVERLAY": spec.overlay, "SITES": json.dumps(gone), "ORIGIN": ""}
        )
    return outcome


def maintain(store: Store, server: ForkServer, overlay: str, *, new_authority: bool) -> Outcome:
    """Run Maintain_Overlay once."""
    variables = {"OVERLAY": overlay, "CRON": "", "NEW_AUTHORITY": str(new_authority).lower()}
    return run(store, server, "Maintain_Overlay", variables)


def new_site(
    store: Store,
    overlay: str,
    site: str,
    provider: str,
    wanted: dict[str, Any],
    origin: str,
) -> dict[str, str]:
    """The variables of a scale-out, checked.

    Raises:
        InputError: a value does not do; nothing was changed.
    """
    name = context(store).overlay(overlay)
    if any(known.name == site and known.origin is Origin.FILE for known in store.sites(name)):
        raise InputError(
            f"site {site}: is in overlay {name} already, by its specification; change it there, or take another name"
        )
    given = {}
    for option in wanted["options"]:
        key, separator, value = option.partition("=")
        if not separator:
            raise InputError(f"option {option!r}: write NAME=VALUE, e.g. --option delay_ms=20")
        given[key] = _literal(value)
    if origin not in {Origin.ELASTIC, Origin.PLAN}:
        raise InputError(f"origin {origin!r}: a scale-out is asked for by elastic or plan")
    hosts = (1 if provider == "lab" else 0) if wanted["hosts"] is None else wanted["hosts"]
    fields = {"region": wanted["region"], "hosts": hosts, "prefixes": tuple(wanted["prefixes"]), "options": given}
    checked = site_spec(name=site, provider=provider, **fields)
    driver(provider)
    return {
        "OVERLAY": name,
        "SITE": site,
        "PROVIDER": provider,
        "REGION": checked.region,
        "HOSTS": str(hosts),
        "PREFIXES": json.dumps([str(prefix) for prefix in checked.prefixes]),
        "OPTIONS": json.dumps(given),
        "ORIGIN": origin,
    }


def leaving_sites(store: Store, overlay: str, sites: list[str], origin: str) -> dict[str, str]:
    """The variables of a scale-in, checked."""
    from proactive_tasks.retire_sites import check_leaving

    if origin not in {"", Origin.ELASTIC, Origin.PLAN}:
        raise InputError(f"origin {origin!r}: elastic, plan, or nothing for a person")
    name = context(store).overlay(overlay)
    leaving = check_leaving(context(store), name, sites, Origin(origin) if origin else None)
    return {"OVERLAY": name, "SITES": json.dumps(leaving), "ORIGIN": origin}


def known_site(store: Store, overlay: str, site: str) -> dict[str, str]:
    """The variables of a repair, checked."""
    from proactive_tasks.retire_sites import check_leaving

    name = context(store).overlay(overlay)
    check_leaving(context(store), name, [site], None)
    return {"OVERLAY": name, "SITE": site}


def _literal(value: str) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
