"""The package holds every workflow, what is made of them, and what they need; as catalogs of two versions want it."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path

import pytest
from lxml import etree

from proactive_tasks import __version__
from proactive_tasks.console import package_catalog
from proactive_tasks.engine import descriptor
from proactive_tasks.engine.workflow import NotSupportedError
from proactive_tasks.overlay.errors import InputError, WorkflowError
from proactive_tasks.scheduler.package import archives, derived, jobfile, packaging, wheel
from proactive_tasks.scheduler.package.packaging import Package, PackageObject
from tests.scheduler.archive_rules import client_faults, files, import_faults, packed

TOP = Path(__file__).parents[2]
WORKFLOW = re.compile(r"(?:[A-Z\d][a-zA-Z\d\.\s]*)(?:_[A-Z\d\$][a-zA-Z\d{}]*)*")
"""The pattern of upstream's own examples for the names of workflows."""

SCRIPT = "println 'an environment'\n"


@pytest.fixture(scope="module")
def package() -> Package:
    return packaging.load(TOP)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout to be changed, with an environment script and a rule of its own."""
    for folder in ("workflows", "catalog"):
        shutil.copytree(TOP / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "catalog" / "overlay_environment.groovy").write_text(SCRIPT)
    shutil.rmtree(tmp_path / "catalog" / "rules", ignore_errors=True)
    (tmp_path / "catalog" / "rules").mkdir()
    rule = '<rule><pollingClass value="Ping"/><a>{"bucket_name":"network-overlay"}</a></rule>'
    (tmp_path / "catalog" / "rules" / "Host_Is_Down.xml").write_text(rule)
    return tmp_path


def workflows(package: Package) -> list[PackageObject]:
    return [each for each in package.objects if each.workflow]


def job(each: PackageObject) -> etree._Element:
    return jobfile.read(each.content, each.name)


def test_every_workflow_task_and_script_is_an_object(package: Package) -> None:
    names = {each.name for each in package.objects}
    files = {path.stem for path in (TOP / "workflows").glob("*.xml")}
    assert files <= names
    tasks = {name.removeprefix("Task_") for name in names if name.startswith("Task_")}
    assert {f"Script_{name}" for name in tasks} <= names
    functions = set()
    for path in (TOP / "workflows").glob("*.xml"):
        functions |= {found[1] for found in re.findall(r"call\((\w+)\.(\w+), globals", path.read_text())}
    assert {name.lower() for name in tasks} == functions
    assert {path.stem for path in (TOP / "catalog" / "rules").glob("*.xml")} <= names


def test_a_service_has_a_life_from_its_deployment_to_its_end(package: Package) -> None:
    states = {}
    for each in package.objects:
        if each.kind == "Workflow/psa":
            generic = jobfile.info(job(each))
            assert generic["pca.service.id"] == "Network_Overlay"
            states[each.name] = generic["pca.states"]
            [tell] = [task for task in jobfile.tasks(job(each)) if task.get("name") == "Tell_Service"]
            [state] = jobfile.all_of(tell, "variables/variable")
            assert states[each.name].endswith(f",{state.get('value')})")
    assert states["Service_Deploy_Overlay"] == "(VOID,RUNNING)"
    assert states["Service_Scale_Out_Overlay"] == states["Service_Scale_In_Overlay"] == "(RUNNING,RUNNING)"
    assert states["Service_Destroy_Overlay"] == "(RUNNING,FINISHED)"


def test_every_workflow_of_the_package_fits_the_conventions_of_the_catalog(package: Package) -> None:
    for each in workflows(package):
        element, told = job(each), each.name
        assert WORKFLOW.fullmatch(each.name), told
        assert element.get("name") == each.name, told
        assert element.get("projectName") == each.project, told
        assert element.get("tags") is None, told
        assert jobfile.text_of(element, "description"), told
        generic = jobfile.info(element)
        assert generic["workflow.icon"].startswith("/automation-dashboard/"), told
        assert generic["Documentation"], told
        assert generic["bucketName"] == package.bucket, told
        icons = [jobfile.info(task)["task.icon"] for task in jobfile.tasks(element)]
        assert set(icons) == {generic["workflow.icon"]}, told
        for task in jobfile.tasks(element):
            assert jobfile.text_of(task, "description"), told
        for name, variable in jobfile.variables(element).items():
            assert variable["description"].strip().endswith("."), f"{told} {name}"
            assert variable["group"], f"{told} {name}"
            assert variable["model"].startswith("PA:"), f"{told} {name}"
            assert variable["advanced"] in {"true", "false"}, f"{told} {name}"
            if variable["value"].lower() in {"true", "false"}:
                assert variable["model"].upper() == "PA:BOOLEAN", f"{told} {name}"
        assert b"copyright activeeon" not in each.content.lower(), told


def test_whatever_a_workflow_of_the_package_refers_to_is_declared_in_it(package: Package) -> None:
    for each in workflows(package):
        element = job(each)
        declared = {variable.get("name", "") for variable in element.iter("{*}variable")}
        values = [str(value) for inner in element.iter("{*}*") for value in inner.values()]
        assert {name for value in values for name in re.findall(r"\$\{(\w+)\}", value)} <= declared, each.name


def test_execution_is_folded_and_a_first_user_sees_little_else(package: Package) -> None:
    for each in workflows(package):
        shown = [name for name, values in jobfile.variables(job(each)).items() if values["advanced"] == "false"]
        assert len(shown) <= 6, each.name
        assert not {"STORE", "SINGLE_NODE", "PYTHON_COMMAND", "NODE_ENVIRONMENT"} & set(shown), each.name


def test_every_workflow_of_the_package_is_accepted_with_its_defaults(package: Package) -> None:
    for each in workflows(package):
        try:
            accepted = descriptor.load(each.content)
        except NotSupportedError:
            continue  # what is only for a scheduler's nodes
        assert accepted.name == each.name
        assert not accepted.warnings


def test_a_task_by_itself_has_the_variables_that_it_takes_and_fails_with_its_job(package: Package) -> None:
    by_name = {each.name: each for each in package.objects}
    measured = job(by_name["Task_Measure_Link"])
    assert {"OVERLAY", "LINK", "SAMPLES", "STORE", "SINGLE_NODE", "PYTHON_COMMAND"} <= set(jobfile.variables(measured))
    assert "MEASURE" not in jobfile.variables(measured)
    provisioned = job(by_name["Task_Provision_Gateway"])
    assert jobfile.variables(provisioned)["OVERLAY"]["description"] == "Name of the overlay; it must be given."
    for each in workflows(package):
        if each.name.startswith("Task_"):
            [task] = jobfile.tasks(job(each))
            assert task.get("onTaskError") == "cancelJob", each.name
            assert jobfile.one_of(task, "depends") is None, each.name
            assert jobfile.one_of(task, "controlFlow") is None, each.name


def test_a_script_is_the_very_text_of_its_task(package: Package) -> None:
    by_name = {each.name: each for each in package.objects}
    for name, each in by_name.items():
        if each.kind == "Script/task":
            assert each.content_type == "text/x-python"
            assert each.file == f"{name}.py"
            assert each.content.isascii()
            code = jobfile.code_of(jobfile.tasks(job(by_name[name.replace("Script_", "Task_", 1)]))[0])
            assert code is not None
            assert code.text
            assert each.content.decode().endswith(code.text.lstrip())
            assert isinstance(ast.parse(each.content).body[-1], ast.Assign)


def test_each_python_task_of_the_package_finds_its_package_on_a_node(checkout: Path) -> None:
    made = packaging.load(checkout, with_wheel=False)
    for each in workflows(made):
        declared = jobfile.variables(job(each))
        assert declared["NODE_ENVIRONMENT"]["value"] == "installed", each.name
        for task in jobfile.tasks(job(each)):
            code = jobfile.one_of(task, "forkEnvironment/envScript/script/code")
            assert code is not None, each.name
            assert (code.get("language"), code.text) == ("groovy", SCRIPT)
            wanted = jobfile.one_of(task, "inputFiles/files")
            assert wanted is not None
            assert wanted.get("includes") == "network-overlay/*.whl"
            assert wanted.get("accessMode") == "transferFromGlobalSpace"
            order = [jobfile.TASK_ORDER.index(etree.QName(child).localname) for child in task]
            assert order == sorted(order), each.name
    assert "NODE_ENVIRONMENT" not in (TOP / "workflows" / "Deploy_Overlay.xml").read_text()


def test_references_follow_the_bucket_and_the_global_space_does_not(checkout: Path) -> None:
    made = packaging.load(checkout, "our-bucket", with_wheel=False)
    by_name = {each.name: each for each in made.objects}
    deployment = by_name["Deploy_Overlay"].content
    assert jobfile.info(job(by_name["Deploy_Overlay"]))["bucketName"] == made.bucket == "our-bucket"
    assert b"network-overlay/*.whl" in deployment
    assert b'"bucket_name":"our-bucket"' in by_name["Host_Is_Down"].content
    assert by_name["Host_Is_Down"].kind == "Rule/host"
    assert by_name["overlay_environment"].kind == "Script/environment"
    assert json.loads(files(archives.for_import(made)[1])["METADATA.json"])["catalog"]["bucket"] == "our-bucket"


@pytest.mark.parametrize("name", ["ab", "A-bucket", "1abc", "abc-", "a_b", "a.b", "a b", "a" * 64, "é"])
def test_a_name_that_is_no_buckets_is_told_before_anything_else(name: str) -> None:
    with pytest.raises(InputError, match="a catalog takes 3 to 63"):
        packaging.load(TOP, name, with_wheel=False)


@pytest.mark.parametrize("name", ["abc", "a--b", "a" * 63])
def test_names_of_buckets_that_a_catalog_takes_are_taken(name: str) -> None:
    packaging.check_bucket(name)


def test_each_archive_is_what_its_installer_takes(package: Package) -> None:
    assert client_faults(*archives.for_client(package)) == []
    assert import_faults(archives.for_import(package)[1]) == []


def test_the_archives_cannot_be_mixed_up_and_differ_in_nothing_else(package: Package) -> None:
    name, for_client = archives.for_client(package)
    other, for_import = archives.for_import(package)
    assert import_faults(for_client) == ["500: no METADATA.json at the root"]
    assert client_faults(other, for_import) == ["network-overlay-import/METADATA.json (No such file or directory)"]
    # The one without its top folder and data space is the other, and the other below a top folder installs.
    top = name.removesuffix(".zip")
    flat = {path.removeprefix(f"{top}/"): content for path, content in files(for_client).items()}
    assert import_faults(packed(flat)) == ["500: unrecognised key dataspace"]
    metadata = json.loads(flat.pop("METADATA.json"))
    space = metadata.pop("dataspace")
    assert space == {
        "target": "global",
        "files": [f"resources/dataspace/network-overlay/{each}" for each in package.files],
    }
    there = files(for_import)
    assert metadata == json.loads(there.pop("METADATA.json"))
    assert there == {path: content for path, content in flat.items() if path not in space["files"]}
    assert client_faults(name, packed({f"{top}/{k}": v for k, v in files(for_import).items()})) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.update(dataspace={}), "unrecognised key dataspace"),
        (lambda m: m["metadata"].update(tags=[]), "unrecognised key metadata.tags"),
        (lambda m: m["catalog"].update(bucket=["a"]), "bucket is a list"),
        (lambda m: m["catalog"]["objects"][0]["metadata"].pop("tags"), "tags is no string"),
        (lambda m: m["catalog"]["objects"][0]["metadata"].update(tags="a, b"), "tags"),
        (lambda m: m["catalog"]["objects"][0].update(file="nowhere"), "without content"),
    ],
)
def test_the_rules_of_the_import_are_not_vacuous(package: Package, change: object, told: str) -> None:
    content = files(archives.for_import(package)[1])
    metadata = json.loads(content["METADATA.json"])
    change(metadata)  # type: ignore[operator]
    content["METADATA.json"] = json.dumps(metadata).encode()
    assert any(told in fault for fault in import_faults(packed(content)))


def test_the_same_files_make_the_same_bytes(package: Package) -> None:
    again = packaging.load(TOP)
    assert archives.for_client(again) == archives.for_client(package)
    assert archives.for_import(again) == archives.for_import(package)


def test_versions_are_one(package: Package) -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert package.version == project["version"] == __version__
    assert list(package.files) == [f"proactive_network_overlay-{__version__}-py3-none-any.whl"]


def test_the_wheel_holds_what_setup_says_and_setup_says_all_there_is() -> None:
    tree = ast.parse((TOP / "setup.py").read_text())
    [call] = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"]
    [data] = [ast.literal_eval(word.value) for word in call.keywords if word.arg == "package_data"]
    patterns = [f"{package.replace('.', '/')}/{each}" for package, given in data.items() for each in given]
    _, content = wheel.build(TOP)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    others = {name for name in held if not name.endswith(".py")}
    assert [name for name in sorted(others) if not any(fnmatch(name, each) for each in patterns)] == []
    assert [each for each in patterns if not any(fnmatch(name, each) for name in others)] == []
    assert {
        "proactive_tasks/workflows/Deploy_Overlay.xml",
        "proactive_tasks/catalog/overlay_environment.groovy",
    } <= held


def test_the_wheel_installs_and_is_what_runs_the_tasks(package: Package, tmp_path: Path) -> None:
    [(name, content)] = package.files.items()
    (tmp_path / name).write_bytes(content)
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*install, "--target", str(tmp_path / "there"), str(tmp_path / name)], check=True, timeout=400)
    code = (
        "from proactive_tasks import provision_gateway\n"
        "from proactive_tasks.scheduler.binding import call\n"
        "from importlib.metadata import distribution\n"
        "found = distribution('proactive-network-overlay')\n"
        "print(provision_gateway.__file__, found.version, len(found.requires))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "there")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    ).stdout.split()
    assert said[0].startswith(str(tmp_path / "there"))
    assert said[1] == __version__
    assert int(said[2]) > 20
    assert (tmp_path / "there" / "bin" / "overlayctl").exists()


def test_the_script_writes_both_and_lists_what_is_in_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        package_catalog.script.main(package_catalog.app, "package_catalog", ["-o", str(tmp_path / "new" / "dist")])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "new" / "dist").iterdir()} == {
        "NetworkOverlay.zip",
        "network-overlay-import.zip",
    }
    assert "NetworkOverlay/METADATA.json" in said
    assert "resources/catalog/Deploy_Overlay.xml" in said


def test_a_folder_that_cannot_be_written_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        package_catalog.script.main(package_catalog.app, "package_catalog", ["-o", str(tmp_path / "file" / "dist")])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--output DIR" in line


def test_two_objects_of_one_name_are_refused(checkout: Path) -> None:
    shutil.copy(
        checkout / "catalog" / "rules" / "Host_Is_Down.xml", checkout / "catalog" / "rules" / "Deploy_Overlay.xml"
    )
    with pytest.raises(InputError, match="Deploy_Overlay: more than one"):
        packaging.load(checkout, with_wheel=False)


def test_a_task_whose_script_is_not_a_call_is_named(checkout: Path) -> None:
    file = checkout / "workflows" / "Attach_Hosts.xml"
    file.write_text(file.read_text().replace("result = call(attach_hosts.attach_hosts, globals())", "result = 1"))
    with pytest.raises(WorkflowError, match="Attach_Hosts: task Attach_Hosts"):
        packaging.load(checkout, with_wheel=False)


def test_metadata_that_lacks_something_is_told_by_name(checkout: Path) -> None:
    file = checkout / "catalog" / "METADATA.json"
    values = json.loads(file.read_text())
    del values["catalog"]["tags"]
    file.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"METADATA.json: KeyError 'tags'"):
        packaging.load(checkout, with_wheel=False)


def test_what_no_workflow_says_of_an_argument_its_function_says() -> None:
    xml = (TOP / "workflows" / "Measure_Overlay.xml").read_bytes()
    steps = {each.name: each for each in derived.steps({"Measure_Overlay": jobfile.read(xml, "Measure_Overlay")})}
    found = derived.arguments(steps["Measure_Link"], {})
    assert found["LINK"]["description"] == "Its name, `a--b`."
    assert found["LINK"]["model"] == "PA:REGEXP(.*)"
