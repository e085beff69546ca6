"""The scheduler's own parser, models and flow checker accept every workflow of the package, and no tags in one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from proactive_tasks.scheduler.package import jobfile, packaging
from proactive_tasks.scheduler.package.comparing import difference
from proactive_tasks.scheduler.package.packaging import PackageObject
from tests.javaside import Java

TOP = Path(__file__).parents[2]
PACKAGE = packaging.load(TOP, with_wheel=False)
WORKFLOWS = [each for each in PACKAGE.objects if each.workflow]


@pytest.mark.parametrize("each", WORKFLOWS, ids=lambda each: each.name)
def test_the_scheduler_accepts_a_workflow_as_it_is_packaged(harness: Java, each: PackageObject) -> None:
    answer = harness.ask("judge", source=each.content.decode(), variables={})
    assert "exception" not in answer, answer
    job = jobfile.read(each.content, each.name)
    assert answer["name"] == each.name
    assert answer["project"] == each.project
    assert set(answer["variables"]) == set(jobfile.variables(job))
    assert set(answer["tasks"]) == {task.get("name") for task in jobfile.tasks(job)}


@pytest.mark.parametrize("each", WORKFLOWS, ids=lambda each: each.name)
def test_what_a_catalog_makes_of_it_is_the_same_and_accepted(harness: Java, each: PackageObject) -> None:
    """Name, project and bucket are the catalog's; Java writes the document anew, and again when a project is set."""
    job = jobfile.read(each.content, each.name)
    job.set("name", "Another_Name")
    job.set("projectName", "Another project")
    jobfile.set_info(job, "bucketName", "another-bucket")
    source = jobfile.write(job).decode()
    for _ in range(2):
        source = harness.ask("written", source=source)["document"]
    assert difference(each, source.encode()) == ""
    answer = harness.ask("judge", source=source, variables={})
    assert answer["name"] == "Another_Name", answer
    for code in jobfile.read(source.encode(), each.name).iter("{*}code"):
        if code.get("language") == "cpython":
            assert ast.parse(code.text or "").body


def test_the_scheduler_accepts_a_script_of_the_package_by_its_url_as_the_documentation_shows(harness: Java) -> None:
    [named] = re.findall(r"<script><file .*</script>", (TOP / "docs" / "catalog.md").read_text())
    [script] = re.findall(r"/buckets/network-overlay/resources/(\w+)/raw", named)
    assert script in {each.name for each in PACKAGE.objects if each.kind == "Script/task"}
    source = (
        f'<job xmlns="{jobfile.NAMESPACE}" name="Our_Own"><taskFlow><task name="Look"><scriptExecutable>{named}'
        "</scriptExecutable></task></taskFlow></job>"
    )
    answer = harness.ask("judge", source=source, variables={})
    assert "exception" not in answer, answer
    assert set(answer["tasks"]) == {"Look"}


def test_a_scheduler_of_13_refuses_the_tags_that_a_newer_catalog_would_write(harness: Java) -> None:
    source = WORKFLOWS[0].content.decode().replace("<job ", '<job tags="Network,Overlay" ', 1)
    answer = harness.ask("judge", source=source, variables={})
    assert 'unexpected attribute "tags"' in answer["message"]
