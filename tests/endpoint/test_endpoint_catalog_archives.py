"""Import and export of archives: as strict as a catalog 14.2, and saying what is wrong."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.endpoint.parts import FLOW, SCRIPT, Client, Server, client_of, error, serve_parts, workflow

PATH = "/buckets/probe/resources"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve_parts(tmp_path_factory.mktemp("endpoint")) as server:
        yield server


@pytest.fixture
def catalog(server: Server) -> Iterator[Client]:
    yield from client_of(server)


def entry(
    name: str = "Deploy", kind: str = "Workflow/standard", suffix: str = ".xml", **metadata: Any
) -> dict[str, Any]:
    told = {"kind": kind, "commitMessage": "first", "contentType": "application/xml", "projectName": "P", "tags": ""}
    return {"name": name, "file": f"resources/catalog/{name}{suffix}", "metadata": {**told, **metadata}}


def package(*entries: dict[str, Any], **catalog: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "P", "slug": "p", "short_description": "", "author": "", "version": "1"},
        "catalog": {"bucket": "elsewhere", "userGroup": "public-objects", "objects": list(entries), **catalog},
    }


def archive(metadata: Any, files: dict[str, str | bytes] | None = None, where: str = "METADATA.json") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        if metadata is not None:
            opened.writestr(where, metadata if isinstance(metadata, str) else json.dumps(metadata))
        for name, content in (files or {"resources/catalog/Deploy.xml": workflow()}).items():
            opened.writestr(name, content)
    return out.getvalue()


def bring(client: Client, content: bytes, bucket: str = "probe", **told: str) -> requests.Response:
    path = f"/buckets/{bucket}/resources/import"
    return client.ask("POST", path, params=told, files={"file": ("package.zip", content)})


def names(client: Client) -> list[str]:
    return [each["name"] for each in client.ask("GET", PATH).json()]


def test_an_archive_makes_objects_and_then_revisions(catalog: Client) -> None:
    files = {"resources/catalog/Deploy.xml": workflow(), "resources/catalog/do.py": "print(1)"}
    script = entry("do", "Script/task", ".py", contentType="text/x-python", tags="a1,b2")
    first = bring(catalog, archive(package(entry(), script), files))
    assert first.status_code == 201
    told = {each["name"]: each for each in first.json()["object"]}
    assert (told["Deploy"]["project_name"], told["do"]["tags"], told["do"]["extension"]) == ("P", "a1,b2", "py")
    assert told["Deploy"]["bucket_name"] == "probe"
    assert told["do"]["content_type"] == "text/x-python"
    again = bring(catalog, archive(package(entry(kind="Other/kind", contentType="text/plain"), script), files))
    assert again.status_code == 201
    told = {each["name"]: each for each in again.json()["object"]}
    assert (told["Deploy"]["kind"], told["Deploy"]["content_type"]) == ("Workflow/standard", "application/xml")
    assert (told["Deploy"]["project_name"], told["do"]["tags"]) == ("", "")
    assert len(catalog.ask("GET", f"{PATH}/Deploy/revisions").json()) == 2


def test_whoever_imports_may_tell_message_project_and_tags(catalog: Client) -> None:
    lean = {"name": "Deploy", "file": "resources/catalog/Deploy.xml"}
    lean["metadata"] = {"kind": "Workflow/standard", "contentType": "application/xml"}
    answer = bring(catalog, archive(package(lean)), commitMessage="mine", projectName="Q", tags="t1")
    (item,) = answer.json()["object"]
    assert (item["commit_message"], item["project_name"], item["tags"]) == ("mine", "Q", "t1")
    (item,) = bring(catalog, archive(package(lean))).json()["object"]
    assert item["commit_message"] == ""


@pytest.mark.parametrize(
    "told",
    [
        {"catalog": {"objects": []}},
        {"metadata": {"name": "x"}, "catalog": {"bucket": "other", "objects": []}},
    ],
)
def test_what_an_archive_need_not_say(catalog: Client, told: dict[str, Any]) -> None:
    answer = bring(catalog, archive(told))
    assert (answer.status_code, answer.json()) == (201, {"object": []})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (archive({**package(entry()), "dataspace": {"target": "global"}}), "METADATA.json: dataspace not known here"),
        (archive({**package(entry()), "test": {}}), "test not known here"),
        (archive({**package(entry()), "metadata": {"tags": "x"}}), "METADATA.json, metadata: tags not known here"),
        (archive(package(entry(), dependencies=[])), "METADATA.json, catalog: dependencies not known here"),
        (archive(package({**entry(), "size": 1})), "METADATA.json, object 1: size not known here"),
        (archive(package(entry(publication="x"))), "object 'Deploy': publication not known here"),
        (archive(package(entry(), bucket=["probe"])), "bucket is one name, not a list"),
        (archive(package(entry(tags=["a"]))), "object 'Deploy': every value of its metadata is a text"),
        (archive({"metadata": {}}), "METADATA.json: catalog is missing"),
        (archive({"catalog": {"bucket": "x"}}), "objects is missing or no list"),
        (archive(package({"name": "x", "file": "x.xml"})), "object 'x': metadata is missing"),
        (archive(package({"name": "x", "metadata": {}})), "object 1: name and file are missing or no texts"),
        (archive("{not json"), "METADATA.json is no JSON"),
        (archive("[]"), "METADATA.json is no object"),
        (archive(None), "it has no METADATA.json at its root"),
        (archive(package(entry()), where="Top/METADATA.json"), "it has no METADATA.json at its root"),
        (b"no zip", "it is no zip"),
        (archive(package({**entry(), "file": "../../etc/passwd"})), "the archive has no file ../../etc/passwd"),
    ],
)
def test_an_archive_is_refused_with_its_reason(catalog: Client, content: bytes, reason: str) -> None:
    status, text = error(bring(catalog, content))
    assert status == 400
    assert reason in text
    assert names(catalog) == []


@pytest.mark.parametrize("lacking", ["kind", "contentType", "projectName", "tags"])
def test_what_a_new_object_of_an_archive_needs(catalog: Client, lacking: str) -> None:
    whole = entry()
    del whole["metadata"][lacking]
    status, text = error(bring(catalog, archive(package(whole))))
    assert (status, lacking in text) == (400, True)
    catalog.add("Deploy", workflow(), **FLOW)
    assert bring(catalog, archive(package(whole))).status_code == 201


@pytest.mark.parametrize(
    ("bad", "status"),
    [(entry("Broken"), 422), (entry("a/b"), 400), (entry("x", kind="x"), 400), (entry("x", tags="1"), 400)],
)
def test_of_an_archive_with_a_bad_object_nothing_stays(catalog: Client, bad: dict[str, Any], status: int) -> None:
    files = {"resources/catalog/Deploy.xml": workflow(), bad["file"]: workflow().replace("taskFlow>", "taskFlood>")}
    assert bring(catalog, archive(package(entry(), bad), files)).status_code == status
    assert names(catalog) == []


def test_an_import_is_refused_in_the_catalogs_words(catalog: Client) -> None:
    whole = archive(package(entry()))
    assert error(bring(catalog, whole, "none")) == (404, "Cannot find bucket with bucketName : none")
    assert catalog.ask("POST", f"{PATH}/import", data=whole).status_code == 415
    answer = requests.post(f"{catalog.url}{PATH}/import", files={"file": whole}, timeout=30)
    assert error(answer) == (401, "Unauthorized")


def test_an_archive_that_unpacks_to_too_much_is_refused(catalog: Client) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("METADATA.json", "w") as file:
        for _ in range(257):
            file.write(bytes(1_000_000))
    assert error(bring(catalog, out.getvalue()))[0] == 413


def test_an_export_can_be_imported_again(catalog: Client) -> None:
    catalog.add("Deploy", workflow(), **FLOW, projectName="P", tags="t1")
    catalog.add("my script", b"\x00\xff", **SCRIPT, file_name="x.py")
    answer = catalog.ask("POST", f"{PATH}/export", json=[])
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="probe.zip"'
    opened = zipfile.ZipFile(io.BytesIO(answer.content))
    assert opened.namelist() == [
        "METADATA.json",
        "resources/catalog/Deploy.xml",
        "resources/catalog/my script.py",
    ]
    told = json.loads(opened.read("METADATA.json"))
    assert told["metadata"]["slug"] == "probe"
    assert told["catalog"]["objects"][0] == {
        "name": "Deploy",
        "file": "resources/catalog/Deploy.xml",
        "metadata": {
            "kind": "Workflow/standard",
            "commitMessage": "first",
            "contentType": "application/xml",
            "projectName": "P",
            "tags": "t1",
        },
    }
    catalog.ask("POST", "/buckets", params={"name": "other"})
    assert bring(catalog, answer.content, "other").status_code == 201
    assert catalog.ask("GET", "/buckets/other/resources/my script/raw").content == b"\x00\xff"
    assert 'value="other"' in catalog.ask("GET", "/buckets/other/resources/Deploy/raw").text


def test_some_objects_are_exported(catalog: Client) -> None:
    for name in ("a1", "b1"):
        catalog.add(name, name, **SCRIPT, file_name="x.py")

    def exported(body: Any, **told: str) -> list[str]:
        answer = catalog.ask("POST", f"{PATH}/export", json=body, params=told)
        assert answer.status_code == 200
        return zipfile.ZipFile(io.BytesIO(answer.content)).namelist()

    assert exported(["b1", "none"]) == ["METADATA.json", "resources/catalog/b1.py"]
    assert exported("", isPlainZip="true") == ["a1.py", "b1.py"]
    assert error(catalog.ask("POST", f"{PATH}/export", json=["zzz"])) == (
        404,
        "Objects [zzz] not found or read-protected in bucket probe",
    )
    assert catalog.ask("POST", f"{PATH}/export", data="[]").status_code == 415
    assert catalog.ask("POST", f"{PATH}/export", json={"a": 1}).status_code == 400
    assert catalog.ask("POST", "/buckets/none/resources/export", json=[]).status_code == 404


def test_a_plain_archive_makes_an_object_of_each_file(catalog: Client) -> None:
    catalog.add("zb", "old", **SCRIPT)
    content = archive(None, {"sub/zb.py": "new", "../../evil.py": "1", "page.html": "2", "odd.xyzzy": "3"})
    answer = catalog.add("", content, kind="Script/task", commitMessage="m", objectContentType="application/zip")
    assert answer.status_code == 201
    told = {each["name"]: each["content_type"] for each in catalog.ask("GET", PATH).json()}
    assert told == {
        "evil": "text/x-python",
        "odd": "application/octet-stream",
        "page": "text/html",
        "zb": "text/x-python",
    }
    assert catalog.text("zb/raw") == "new"
    assert len(catalog.ask("GET", f"{PATH}/zb/revisions").json()) == 2


def test_a_plain_archive_is_all_or_nothing(catalog: Client) -> None:
    told = {"kind": "Workflow/standard", "commitMessage": "m", "objectContentType": "application/zip"}
    broken = archive(None, {"good.xml": workflow(), "broken.xml": "<job/>"})
    assert catalog.add("", broken, **told).status_code == 422
    assert (
        catalog.add("", archive(None, {"a.py": "1", ".hidden": "2"}), **{**told, "kind": "Script/task"}).status_code
        == 400
    )
    for bad in (b"no zip", archive(None, {"empty/": ""})):
        assert error(catalog.add("", bad, **told)) == (422, "Malformed archive")
    assert names(catalog) == []


def test_metadata_in_a_plain_archive_is_an_object_to_13_and_nothing_to_14(catalog: Client) -> None:
    content = archive("{}", {"one.py": "1"})
    assert bring(catalog, content, isPlainZip="true", kind="Script/task").status_code == 201
    assert names(catalog) == ["one"]
    catalog.add("", content, kind="Script/task", commitMessage="m", objectContentType="application/zip")
    assert names(catalog) == ["METADATA", "one"]


def test_a_whole_package_is_imported_at_once(catalog: Client) -> None:
    entries = [entry(f"Flow_{number}") for number in range(60)]
    content = archive(package(*entries), {each["file"]: workflow() for each in entries})
    assert bring(catalog, content).status_code == 201
    assert len(names(catalog)) == 60
