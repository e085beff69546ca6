"""Tasks of several jobs on several nodes: other users, other folders, no home; one PostgreSQL behind a password.

A node is an interpreter of its own: a script that drops to a user who owns nothing and knows no home, takes away what
the embedded engine tells its tasks, and goes on as Python. So the tasks run as they do under a scheduler.
"""

from __future__ import annotations

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
import pytest
from lxml import etree
from sqlalchemy import make_url

from proactive_tasks.engine.job import Job
from proactive_tasks.engine.process import ForkServer
from proactive_tasks.engine.run import run
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.store import Store
from proactive_tasks.store.database import Database
from tests.engine.conftest import Log
from tests.postgres import cluster

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="tasks become other users")

ROOT = Path(__file__).parents[2]
PASSWORD, PASSPHRASE = "the store's own", "a passphrase for a test"
SPEC = "{version: 1, overlay: presto, controllers: [203.0.113.7/32], sites: []}"
JOBS = 8

NODE = """#!/bin/sh
# {user}: nobody in particular, in a folder that is not theirs. They may read the interpreter, wherever it is.
cd / || exit 1
exec setpriv --reuid {user} --regid {user} --clear-groups \\
    --inh-caps=-all,+dac_read_search --ambient-caps=+dac_read_search \\
    env -u HOME -u XDG_STATE_HOME -u XDG_CACHE_HOME -u OVERLAY_STORE -u OVERLAY_EMBEDDED_ENGINE -u OVERLAY_PASSPHRASE \\
    -u PA_TASK_PROGRESS_FILE {more} {python} "$@"
"""

PROVISION = """
from ipaddress import IPv4Address
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from proactive_tasks.overlay.model import SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.scheduler.binding import call
from proactive_tasks.scheduler.context import Context

def provision(context: Context, *, overlay: str, site: str) -> Result:
    "A gateway that was made, as far as the store knows."
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    fields = {"request": request.public_bytes(serialization.Encoding.PEM).decode(), "host_key": "a key"}
    address = IPv4Address("198.18.0.1") + int(site[1:])
    with context.store.lease(f"gateway/{overlay}/{site}", context.job):
        context.store.update_site(overlay, site, context.actor, state=SiteState.PROVISIONED, public_address=address,
                                  host_key_seeded=False, wan="wan", lan="lan", **fields)
    return Result("provision", facts={"job": context.job})

result = call(provision, globals())
"""


def planning() -> bytes:
    """Scale_Out_Overlay up to the planning of the links; the gateway alone is not made."""
    job = etree.parse(ROOT / "workflows" / "Scale_Out_Overlay.xml").getroot()
    kept = ("Allocate_Subnet", "Provision_Gateway", "Issue_Certs")
    for task in job.findall("{*}taskFlow/{*}task"):
        if task.get("name") not in kept:
            task.getparent().remove(task)
        for retries in ("maxNumberOfExecution", "taskRetryDelay"):
            task.attrib.pop(retries, None)
    last = job.find("{*}taskFlow/{*}task[@name='Issue_Certs']/{*}controlFlow")
    last.getparent().remove(last)
    made = job.find("{*}taskFlow/{*}task[@name='Provision_Gateway']/{*}scriptExecutable/{*}script/{*}code")
    made.text = etree.CDATA(PROVISION)
    return etree.tostring(job)


@pytest.fixture(scope="module")
def server():
    with cluster(PASSWORD) as address:
        host = address.split(maxsplit=1)[0].removeprefix("host=")
        with psycopg.connect(f"{address} dbname=postgres password='{PASSWORD.replace(chr(39), chr(92) + chr(39))}'",
                             autocommit=True) as connection:  # fmt: skip
            connection.execute("CREATE DATABASE overlay")
        yield f"postgresql://postgres@/overlay?host={host}"


@pytest.fixture(scope="module")
def store(server: str):
    url = make_url(server).set(password=PASSWORD).render_as_string(hide_password=False)
    with Store.open(url) as opened:
        opened.save_spec(load_spec(SPEC), "test")
        yield opened


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OVERLAY_STORE", f"sqlite:///{tmp_path}/records.db")
    with Database.open(f"sqlite:///{tmp_path}/records.db") as records, ForkServer() as forks:

        def submit(node: Path, log: Log | None = None, credentials: dict[str, str] | None = None, **values: str) -> Job:
            given = {"OVERLAY_PASSPHRASE": PASSPHRASE, "OVERLAY_STORE_PASSWORD": PASSWORD}
            values |= {"PYTHON_COMMAND": str(node), "PROVIDER": "aws", "REGION": "eu-west-1", "OVERLAY": "presto"}
            values["PA_SCHEDULER_REST_URL"] = "http://pro:8080/rest"
            return run(planning(), values, store=records, server=forks, observer=log,
                       credentials=given if credentials is None else credentials)  # fmt: skip

        yield submit


def node(folder: Path, number: int, more: str = "") -> Path:
    """A node: the name of an interpreter for PYTHON_COMMAND."""
    path = folder / f"node-{number}"
    path.write_text(NODE.format(user=20_000 + number, python=sys.executable, more=more))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_jobs_of_eight_nodes_at_once_plan_one_after_the_other(
    store: Store, server: str, engine: Any, tmp_path: Path
) -> None:
    logs = [Log() for _ in range(JOBS)]
    with ThreadPoolExecutor(JOBS) as users:
        jobs = list(users.map(lambda n: engine(node(tmp_path, n), logs[n], STORE=server, SITE=f"s{n}"), range(JOBS)))
    assert [str(job.status) for job in jobs] == ["FINISHED"] * JOBS, "\n".join(
        line for log in logs for lines in log.lines.values() for line in lines
    )
    assert [task.error for job in jobs for task in job.tasks] == [None] * 3 * JOBS

    sites = store.sites("presto")
    assert sorted(site.deployment for site in sites) == list(range(JOBS))
    assert len({site.subnet for site in sites}) == JOBS
    links = {link.name: link for link in store.links("presto")}
    assert len(links) == JOBS * (JOBS - 1) // 2
    assert len({(link.listener, link.port) for link in links.values()}) == len(links)
    made = [event for event in store.events("presto", limit=1000) if (event.kind, event.action) == ("link", "create")]
    assert [links[event.name].index for event in made] == list(range(len(links)))
    transactions = [actor for actor, _ in groupby(made, key=lambda event: event.actor)]
    assert len(transactions) == len(set(transactions))
    owners = {str(task.text()) for job in jobs for task in job.tasks if task.spec.name == "Provision_Gateway"}
    assert all(' of http://pro:8080/rest"' in each for each in owners)
    assert store.lease_owners() == set()
    assert PASSWORD not in str([log.lines for log in logs])


@pytest.mark.parametrize(
    ("values", "credentials", "told"),
    [
        ({"STORE": ""}, None, "no home|Permission denied|name a directory where you may write in XDG_STATE_HOME"),
        ({"STORE": "sqlite:////tmp/no.db"}, None, "the store is SQLite, which tasks on several nodes cannot share"),
        ({}, {"OVERLAY_PASSPHRASE": PASSPHRASE}, "check that it runs, its address and the credentials"),
        ({}, {"OVERLAY_PASSPHRASE": PASSPHRASE, "OVERLAY_STORE_PASSWORD": "wrong"}, "password authentication failed"),
    ],
    ids=["no store", "sqlite", "no password", "wrong password"],
)
def test_a_node_without_a_usable_store_says_so_in_a_line(
    engine: Any, server: str, tmp_path: Path, values: dict[str, str], credentials: dict[str, str] | None, told: str
) -> None:
    log = Log()
    job = engine(node(tmp_path, 1), log, credentials, **{"STORE": server, "SITE": "late", **values})
    assert str(job.status) == "CANCELED"
    (line,) = [line for line in log.lines["Allocate_Subnet"] if line.startswith("Allocate_Subnet: ")]
    assert any(word in line for word in told.split("|"))
    assert "wrong" not in line
