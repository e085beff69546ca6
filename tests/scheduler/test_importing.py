"""An import adds what lacks, revises what differs, leaves the rest alone, and says so of every object."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest

from proactive_tasks.console import import_catalog
from proactive_tasks.scheduler.client import rest
from proactive_tasks.scheduler.package import archives, packaging
from proactive_tasks.scheduler.package.comparing import difference
from proactive_tasks.scheduler.package.packaging import Package, PackageObject
from tests.commands import call
from tests.scheduler.archive_rules import files
from tests.scheduler.catalogs import PASSWORD, RefusalError, SmallCatalog, small_catalog

TOP = Path(__file__).parents[2]
BUCKET = "network-overlay"


@pytest.fixture(scope="module")
def package() -> Package:
    return made_once(TOP, "", with_wheel=True)


@pytest.fixture
def catalog(request: pytest.FixtureRequest) -> Iterator[SmallCatalog]:
    """A catalog of 13, or of the version that the test names."""
    with small_catalog(getattr(request, "param", 13)) as found:
        yield found


both_versions = pytest.mark.parametrize("catalog", [13, 14], indirect=True)


made_once = cache(packaging.load)

Run = Callable[..., tuple[int, dict[str, object], str]]


@pytest.fixture
def run(catalog: SmallCatalog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script; answers its exit code, its answer and what it told."""

    def _run(*arguments: str, password: str = PASSWORD) -> tuple[int, dict[str, object], str]:
        monkeypatch.setenv("PROACTIVE_PASSWORD", password)
        monkeypatch.setattr(packaging, "load", made_once)
        main = partial(import_catalog.script.main, import_catalog.app, import_catalog.NAME)
        said = call(capsys, import_catalog.NAME, main, "--url", catalog.url, "--output", "json", *arguments)
        return said.code, json.loads(said.out) if said.out else {}, said.err

    return _run


def states(answer: dict[str, object]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in answer["objects"]}  # type: ignore[attr-defined]


@both_versions
def test_the_first_import_adds_all_and_the_second_sends_nothing(
    run: Run, catalog: SmallCatalog, package: Package
) -> None:
    code, answer, told = run()
    wheel = f"network-overlay/{next(iter(package.files))}"
    assert (code, set(states(answer).values())) == (0, {"added"})
    assert set(states(answer)) == {*(each.name for each in package.objects), wheel}
    assert catalog.changes[0] == "POST /catalog/buckets"
    assert catalog.changes[1] == f"POST /catalog/buckets/{BUCKET}/resources"
    assert catalog.space == {wheel: next(iter(package.files.values()))}
    deployment = catalog.buckets[BUCKET]["Deploy_Overlay"]
    assert deployment.revisions[0].message.startswith("First commit 0.1.0 sha256:")
    assert (deployment.kind, deployment.extension) == ("Workflow/standard", "xml")
    assert catalog.buckets[BUCKET]["Script_Measure_Link"].extension == "py"
    assert f"{len(package.objects)}/{len(package.objects)}  added" in told
    catalog.changes.clear()
    code, answer, _ = run()
    assert (code, set(states(answer).values()), catalog.changes) == (0, {"there already"}, [])
    assert float(answer["seconds"]) < 5  # type: ignore[arg-type]


def test_what_changed_is_revised_and_nothing_else(run: Run, catalog: SmallCatalog) -> None:
    run()
    stored = catalog.buckets[BUCKET]["Measure_Overlay"]
    stored.revisions.append(replace(stored.revisions[0], content=b"<job/>", message="somebody's"))
    catalog.space.clear()
    code, answer, _ = run()
    changed = {name: state for name, state in states(answer).items() if state != "there already"}
    assert code == 0
    assert changed.pop("Measure_Overlay") == "revised"
    assert list(changed.values()) == ["added"]  # the wheel
    assert len(stored.revisions) == 3


@both_versions
def test_what_another_installer_put_there_is_known_again(run: Run, catalog: SmallCatalog, package: Package) -> None:
    """As `proactive-client -pkg` does: object by object, with a message of its own."""
    catalog.buckets[BUCKET] = {}
    for path, content in files(archives.for_client(package)[1]).items():
        if path.endswith("METADATA.json"):
            metadata = json.loads(content)
    there = files(archives.for_client(package)[1])
    for each in metadata["catalog"]["objects"]:
        said = each["metadata"]
        values = {**said, "objectContentType": said["contentType"], "commitMessage": "First commit (13.0.3)"}
        catalog.put(BUCKET, each["name"], values, each["file"], there[f"NetworkOverlay/{each['file']}"])
    code, answer, _ = run("--verify")
    assert code == 0, answer
    assert {name for name, state in states(answer).items() if state != "as packaged"} == {
        f"network-overlay/{next(iter(package.files))}"
    }
    code, answer, _ = run("--no-wheel")
    assert (code, set(states(answer).values())) == (0, {"there already"})


@pytest.mark.parametrize("catalog", [14], indirect=True)
def test_what_a_catalogs_own_import_put_there_is_verified(run: Run, catalog: SmallCatalog, package: Package) -> None:
    catalog.buckets[BUCKET] = {}
    assert len(catalog.import_archive(BUCKET, archives.for_import(package)[1])) == len(package.objects)
    assert run("--verify")[0] == 0
    catalog.import_archive(BUCKET, archives.for_import(package)[1])  # a second one forgets the projects
    code, answer, _ = run("--verify", "--only", "Deploy_Overlay")
    [found] = [each for each in answer["objects"] if each["name"] == "Deploy_Overlay"]  # type: ignore[attr-defined]
    assert (code, found["state"], found["detail"]) == (0, "as packaged", "its project is ''")
    assert states(run("--only", "Deploy_Overlay")[1]) == {"Deploy_Overlay": "there already"}


@both_versions
def test_a_verification_names_what_is_missing_changed_or_not_ours(run: Run, catalog: SmallCatalog) -> None:
    run()
    catalog.changes.clear()
    objects = catalog.buckets[BUCKET]
    del objects["Repair_Overlay"]
    changed = objects["Deploy_Overlay"].revisions[-1]
    changed.content = changed.content.replace(b'walltime="15:00"', b'walltime="16:00"')
    objects["Script_Measure_Link"].revisions[-1].content += b"\n"
    objects["Destroy_Overlay"].kind = "Workflow/other"
    catalog.space = dict.fromkeys(catalog.space, b"old")
    values = {"kind": "Text", "objectContentType": "text/plain", "commitMessage": "mine"}
    catalog.put(BUCKET, "Mine", values, "mine.txt", b"mine")
    code, answer, told = run("--verify")
    found = {each["name"]: each for each in answer["objects"]}  # type: ignore[attr-defined]
    assert code == 3
    assert found.pop("Repair_Overlay")["state"] == "missing"
    assert found["Deploy_Overlay"]["detail"] == (
        "job > taskFlow > task Provision_Gateway: walltime is '16:00', and should be '15:00'"
    )
    assert "other content" in found["Script_Measure_Link"]["detail"]
    assert found["Destroy_Overlay"]["detail"] == "it is there as Workflow/other"
    assert found["Mine"]["state"] == "not of the package"
    assert sum(each["state"] == "different" for each in found.values()) == 4
    assert "import_catalog: Repair_Overlay is missing" in told
    assert catalog.changes == []


def test_a_verification_of_an_empty_server_finds_all_missing(run: Run, catalog: SmallCatalog) -> None:
    code, answer, _ = run("--verify")
    assert (code, set(states(answer).values()), catalog.changes) == (3, {"missing"}, [])


def test_a_refused_object_is_named_with_the_servers_words_and_the_others_go_on(
    run: Run, catalog: SmallCatalog, package: Package
) -> None:
    catalog.refuse = {"Deploy_Overlay"}
    code, answer, told = run()
    assert code == 1
    assert states(answer)["Deploy_Overlay"] == "refused"
    assert sum(state == "added" for state in states(answer).values()) == len(package.objects)  # the wheel, too
    [line] = [line for line in told.splitlines() if line.startswith("import_catalog: Deploy_Overlay was refused")]
    assert "At [tag:job] : no. at line 6 , column 63." in line


def test_a_bucket_in_which_nothing_could_be_put_is_not_left_there(run: Run, catalog: SmallCatalog) -> None:
    catalog.refuse = {"Deploy_Overlay"}
    code, _, _ = run("--only", "Deploy_Overlay")
    assert (code, catalog.buckets) == (1, {})


def test_an_object_of_another_kind_is_not_revised(run: Run, catalog: SmallCatalog) -> None:
    values = {"kind": "Text", "objectContentType": "text/plain", "commitMessage": "First commit"}
    catalog.buckets[BUCKET] = {}
    catalog.put(BUCKET, "Deploy_Overlay", values, "a.txt", b"text")
    code, answer, _ = run("--only", "Deploy_Overlay")
    [found] = answer["objects"]  # type: ignore[misc]
    assert (code, found["state"]) == (1, "refused")
    assert "it is there as Text, which no revision changes: remove it there" in found["detail"]


def test_only_what_is_named_is_sent(run: Run, catalog: SmallCatalog) -> None:
    code, answer, _ = run("--only", "Script_Measure_Link", "--only", "Deploy_Overlay")
    assert code == 0
    assert set(states(answer)) == set(catalog.buckets[BUCKET]) == {"Deploy_Overlay", "Script_Measure_Link"}


def test_a_dry_run_tells_and_sends_nothing(run: Run, catalog: SmallCatalog) -> None:
    code, answer, _ = run("--dry-run")
    assert (code, set(states(answer).values()), catalog.changes) == (0, {"added"}, [])


def test_another_bucket_is_another_package(run: Run, catalog: SmallCatalog) -> None:
    assert run("--bucket", "our-bucket")[0] == 0
    content = catalog.buckets["our-bucket"]["Deploy_Overlay"].revisions[0].content
    assert b'value="our-bucket"' in content
    assert run("--bucket", "our-bucket", "--verify")[0] == 0
    assert BUCKET not in catalog.buckets


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--bucket", "Our_Bucket"), "bucket 'Our_Bucket': a catalog takes"),
        (("--only", "Deploy"), "object Deploy: not in the package; it has: Deploy_Overlay"),
        (("--verify", "--dry-run"), "choose one"),
    ],
)
def test_bad_input_is_told_in_a_line_before_anything_is_sent(
    run: Run, catalog: SmallCatalog, arguments: tuple[str, ...], told: str
) -> None:
    catalog.url = "http://127.0.0.1:9"  # nobody is there to be asked
    code, _, said = run(*arguments)
    assert code == 2
    assert told in said.splitlines()[-1]


def test_a_wrong_password_is_told_in_a_line(run: Run, catalog: SmallCatalog) -> None:
    code, answer, told = run(password="wrong")
    assert (code, answer, catalog.changes) == (2, {}, [])
    assert "Authentication failed" in told.splitlines()[-1]


def test_a_workflow_that_is_wrong_is_refused_here_and_nothing_is_sent(
    run: Run, catalog: SmallCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("workflows", "catalog"):
        shutil.copytree(TOP / folder, tmp_path / folder)
    file = tmp_path / "workflows" / "Measure_Overlay.xml"
    file.write_text(file.read_text().replace('name="SAMPLES" value="20"', 'name="SAMPLES" value="many"'))
    monkeypatch.setattr(packaging, "checkout", lambda: tmp_path)
    monkeypatch.setattr(packaging.wheel, "build", lambda _: ("a.whl", b""))
    code, _, told = run()
    assert (code, catalog.changes) == (2, [])
    line = told.splitlines()[-1]
    assert line.startswith("import_catalog: object Measure_Overlay (Measure_Overlay.xml)")
    assert "PA:INTEGER[1,1000]" in line


def test_a_server_that_is_not_there_is_told_in_a_line(
    run: Run, catalog: SmallCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "FIRST_PATIENCE_S", 0.3)
    catalog.url = "http://127.0.0.1:9"
    code, _, told = run("--no-wheel", "--only", "Deploy_Overlay")
    assert code == 1
    assert "does not answer" in told.splitlines()[-1]


def after(number: int, error: Exception, *, times: int = 10_000) -> Callable[[str], None]:
    """A server that does its work for so many objects, and then so many times something else."""
    asked: list[str] = []

    def judge(request: str) -> None:
        if request.endswith("/resources") and request.startswith("POST"):
            asked.append(request)
            if number < len(asked) <= number + times:
                raise error

    return judge


def test_a_session_that_ends_in_the_middle_is_renewed(run: Run, catalog: SmallCatalog, package: Package) -> None:
    catalog.judge = after(7, RefusalError(401, "SessionId is invalid"), times=1)
    code, answer, _ = run("--no-wheel")
    assert (code, set(states(answer).values()), len(states(answer))) == (0, {"added"}, len(package.objects))


@pytest.mark.parametrize("error", [ConnectionAbortedError(), RefusalError(503, "Service Unavailable")], ids=str)
def test_an_import_whose_server_goes_away_goes_on_when_it_is_run_again(
    run: Run, catalog: SmallCatalog, package: Package, error: Exception
) -> None:
    catalog.judge = after(7, error)
    code, answer, told = run("--no-wheel")
    assert (code, answer, len(catalog.buckets[BUCKET])) == (1, {}, 7)
    assert told.count("  added  ") == 7
    assert told.splitlines()[-1].startswith(f"import_catalog: POST {catalog.url}/catalog/buckets/{BUCKET}/resources: ")
    catalog.judge = lambda _: None
    _, answer, _ = run("--no-wheel")
    found = list(states(answer).values())
    assert (found.count("there already"), found.count("added")) == (7, len(package.objects) - 7)


def test_an_object_without_content_is_told_and_revised(run: Run, catalog: SmallCatalog) -> None:
    """As a catalog's own import leaves it when a file lacks in the archive."""
    only = ("--only", "Deploy_Overlay")
    run(*only)
    stored = catalog.buckets[BUCKET]["Deploy_Overlay"]
    stored.revisions[0].message = "First commit"

    def judge(request: str) -> None:
        if request.endswith("/raw"):
            raise RefusalError(500, "Internal Server Error")

    catalog.judge = judge
    code, answer, _ = run(*only, "--verify")
    [found] = answer["objects"]  # type: ignore[misc]
    assert (code, found["state"]) == (3, "different")
    assert "its content cannot be had: " in found["detail"]
    code, answer, _ = run(*only)
    assert (code, states(answer), len(stored.revisions)) == (0, {"Deploy_Overlay": "revised"}, 2)


def test_each_object_that_may_not_be_written_is_named(run: Run, catalog: SmallCatalog) -> None:
    catalog.buckets[BUCKET] = {}
    catalog.judge = after(0, RefusalError(403, f"You do not have enough permissions over the bucket: {BUCKET}"))
    code, answer, told = run("--only", "Deploy_Overlay", "--only", "Script_Measure_Link")
    assert (code, set(states(answer).values())) == (1, {"refused"})
    assert told.count("was refused: ") == 2
    assert "enough permissions" in told.splitlines()[-1]


def test_a_bucket_that_others_keep_to_themselves_is_told_in_a_line(run: Run, catalog: SmallCatalog) -> None:
    def judge(request: str) -> None:
        if request == "POST /catalog/buckets":
            raise RefusalError(409, f"The bucket named {BUCKET} owned by GROUP:public-objects already exists")

    catalog.judge = judge
    code, _, told = run("--no-wheel")
    assert (code, catalog.changes) == (2, [])
    [line] = told.splitlines()
    assert line.startswith(f"import_catalog: bucket {BUCKET}: it is there, but this user may not see it; ")


def _object(content: bytes, kind: str = "Workflow/standard") -> PackageObject:
    return PackageObject("A_Job", kind, "application/xml", "A_Job.xml", content, "Project")


HIDDEN = b'<job name="A"><variables><variable name="V" model="PA:HIDDEN" value="%s"/></variables></job>'
INFO = b'<job name="A"><genericInformation><info name="bucketName" value="%s"/></genericInformation></job>'


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (b'<job name="A" projectName="P"/>', b'<job name="B" projectName="Q" tags="a,b"/>'),
        (b"<job><code><![CDATA[\na < b\n]]></code></job>", b"<job>\n <code>\n\n   a &lt; b\n  </code></job>"),
        (b'<job a="1" b="2"/>', b'<?xml version="1.0"?><!-- c --><job b="2" a="1"/>'),
        (HIDDEN % b"", HIDDEN % b"ENC(abc)"),
        (INFO % b"one", INFO % b"other"),
    ],
)
def test_what_a_catalog_changes_is_no_difference(wanted: bytes, found: bytes) -> None:
    assert difference(_object(wanted), found) == ""


@pytest.mark.parametrize(
    ("wanted", "found", "told"),
    [
        (b'<job priority="low"/>', b"<job/>", "job: priority is None, and should be 'low'"),
        (b"<job><a>x\ny</a></job>", b"<job><a>x y</a></job>", "job > a: its text is another"),
        (b'<job><task name="A"/></job>', b"<job/>", "job: task A is missing"),
        (b"<job/>", b'<job><task name="A"/></job>', "job: task A should not be there"),
        (b"<job><a/></job>", b"<job><b/></job>", "job: b is there in place of a"),
        (INFO.replace(b"bucketName", b"PYTHON") % b"1", INFO.replace(b"bucketName", b"PYTHON") % b"2", "value is '2'"),
        (b"<job/>", b"{}", "what is there is no XML"),
    ],
)
def test_any_other_is_named(wanted: bytes, found: bytes, told: str) -> None:
    assert told in difference(_object(wanted), found)


def test_scripts_are_compared_byte_by_byte() -> None:
    assert difference(_object(b"a\n", "Script/task"), b"a\n") == ""
    assert difference(_object(b"a\n", "Script/task"), b"a") != ""
