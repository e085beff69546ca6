"""The endpoint's catalog over HTTP: it answers as a ProActive catalog 13.0.3 was seen to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.endpoint.parts import FLOW, SCRIPT, Client, Server, client_of, error, serve_parts, workflow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve_parts(tmp_path_factory.mktemp("endpoint")) as server:
        yield server


@pytest.fixture
def catalog(server: Server) -> Iterator[Client]:
    yield from client_of(server)


# sessions


def test_without_a_session_the_catalog_says_what_is_wrong_with_the_header(catalog: Client) -> None:
    ask = requests.request
    assert error(ask("GET", catalog.url + "/buckets", timeout=30)) == (401, "Could not validate empty sessionId")
    assert error(ask("GET", catalog.url + "/buckets", headers={"sessionid": ""}, timeout=30)) == (
        401,
        "Could not validate empty sessionId",
    )
    assert error(ask("POST", catalog.url + "/buckets?name=abc", timeout=30)) == (401, "Unauthorized")
    assert error(ask("GET", catalog.url + "/buckets", headers={"sessionID": "no"}, timeout=30)) == (
        401,
        "SessionId is invalid",
    )
    assert error(ask("DELETE", catalog.url + "/buckets", timeout=30))[0] == 401


def test_the_lists_of_kinds_and_content_types_need_no_session(catalog: Client) -> None:
    catalog.add("s", "x", **SCRIPT)
    assert requests.get(catalog.url + "/buckets/kinds", timeout=30).json() == ["Script", "Script/task"]
    assert requests.get(catalog.url + "/buckets/content-types", timeout=30).json() == ["text/x-python"]


def test_an_unknown_route_is_not_taken_for_a_missing_object(catalog: Client) -> None:
    answer = catalog.ask("GET", "/nothing/here")
    assert (answer.status_code, answer.json()["error"]) == (404, "Not Found")
    assert "httpErrorCode" not in answer.json()


# buckets


@pytest.mark.parametrize("name", ["ab", "a" * 64, "A-bucket", "1abc", "abc-", "a_b", "a.b", "a b", "é", ""])
def test_a_bucket_of_a_bad_name_is_refused(catalog: Client, name: str) -> None:
    text = f"The bucket name: '{name}' is not valid, please check the specification of bucket naming"
    assert error(catalog.ask("POST", "/buckets", params={"name": name})) == (400, text)


@pytest.mark.parametrize("name", ["a--b", "abc", "a" * 63])
def test_a_bucket_of_a_good_name_is_made(catalog: Client, name: str) -> None:
    answer = catalog.ask("POST", "/buckets", data={"name": name})
    assert answer.status_code == 201
    assert answer.json().items() >= {"owner": "GROUP:public-objects", "name": name, "objectCount": 0}.items()


def test_a_bucket_is_refused_in_the_catalogs_words(catalog: Client) -> None:
    session = catalog.http.headers["sessionid"]
    assert error(catalog.ask("POST", "/buckets", params={"name": "probe"})) == (
        409,
        "The bucket named probe owned by GROUP:public-objects already exists",
    )
    assert error(catalog.ask("POST", "/buckets")) == (
        400,
        "Bad Request, missing parameter: Required String parameter 'name' is not present",
    )
    for owner in ("GROUP:nobody", "GROUP:", "group:scheduleradmins", "user:admin", "scheduleradmins"):
        assert error(catalog.ask("POST", "/buckets", params={"name": "Bad", "owner": owner})) == (
            403,
            f"SessionId: {session} is not allowed to access buckets with owner or group {owner}",
        )
    assert error(catalog.ask("GET", "/buckets/none")) == (404, "Cannot find bucket with bucketName : none")
    assert error(catalog.ask("DELETE", "/buckets/none")) == (404, "Cannot find bucket with bucketName : none")
    catalog.add("s", "x", **SCRIPT)
    assert error(catalog.ask("DELETE", "/buckets/probe")) == (
        403,
        "Forbidden to delete the non empty bucket: probe",
    )


def test_a_bucket_given_to_a_foreign_owner_is_closed(catalog: Client) -> None:
    catalog.ask("POST", "/buckets", params={"name": "mine", "owner": "GROUP:scheduleradmins"})
    assert catalog.ask("GET", "/buckets/mine").json()["rights"] == "admin"
    assert catalog.ask("PUT", "/buckets/mine", params={"owner": "GROUP:others"}).status_code == 200
    assert error(catalog.ask("GET", "/buckets/mine")) == (
        403,
        "You do not have enough permissions over the bucket: mine",
    )
    assert [bucket["name"] for bucket in catalog.ask("GET", "/buckets").json()] == ["probe"]


def test_filters_of_buckets_count_only_what_fits(catalog: Client) -> None:
    catalog.ask("POST", "/buckets", params={"name": "empty"})
    catalog.add("s1", "x", **SCRIPT)
    catalog.add("flow", workflow(), **FLOW)

    def counts(**filters: str) -> dict[str, int]:
        return {each["name"]: each["objectCount"] for each in catalog.ask("GET", "/buckets", params=filters).json()}

    assert counts() == {"empty": 0, "probe": 2}
    assert counts(kind="SCRIPT") == {"probe": 1}
    assert counts(contentType="application/xml") == {"probe": 1}
    assert counts(objectName="FLO") == {"probe": 1}
    assert counts(bucketName="EMP") == {"empty": 0}
    assert counts(kind="rule") == {}


def test_removing_all_empty_buckets_leaves_the_others(catalog: Client) -> None:
    catalog.add("s1", "x", **SCRIPT)
    catalog.ask("POST", "/buckets", params={"name": "empty"})
    assert catalog.ask("DELETE", "/buckets").status_code == 200
    assert [bucket["name"] for bucket in catalog.ask("GET", "/buckets").json()] == ["probe"]


# objects


def test_a_workflow_is_stored_under_its_objects_name_and_place(catalog: Client) -> None:
    generic = '<genericInformation><info name="bucketName" value="mine"/></genericInformation>'
    answer = catalog.add("Deploy", workflow(generic=generic), **FLOW, projectName="Probe")
    assert answer.status_code == 201
    (item,) = answer.json()["object"]
    assert item["project_name"] == "Probe"
    assert item["extension"] == "xml"
    assert item["username"] == "admin"
    assert item["rights"] is None
    assert item["commit_time_raw"].isdigit()
    assert len(item["commit_time_raw"]) == 13
    assert item["links"][0]["href"] == f"{catalog.url}/buckets/probe/resources/Deploy/raw"
    text = catalog.text("Deploy/raw")
    assert 'name="Deploy"' in text
    assert "In_The_File" not in text
    assert 'projectName="Probe"' in text
    assert '<info name="bucketName" value="probe"/>' in text
    assert '<info name="group" value="public-objects"/>' in text
    assert "<!-- kept -->" in text
    assert "<![CDATA[print(1 < 2)]]>" in text


def test_a_workflow_without_generic_information_gets_some_where_the_schema_wants_it(catalog: Client) -> None:
    catalog.add("Deploy", workflow(), **FLOW)
    text = catalog.text("Deploy/raw")
    assert text.index("</description>") < text.index('<info name="group"') < text.index("<taskFlow>")
    assert catalog.add("Again", text, **FLOW).status_code == 201


def test_what_a_catalog_tells_of_a_workflow(catalog: Client) -> None:
    catalog.add("Deploy", workflow(attributes='projectName="Own"'), **FLOW)
    item = catalog.ask("GET", "/buckets/probe/resources/Deploy").json()
    assert item["project_name"] == "Own"
    assert item["rights"] == "admin"
    assert item["_links"]["content"]["href"].endswith("/catalog/buckets/probe/resources/Deploy/raw")
    told = [(each["label"], each["key"], each["value"]) for each in item["object_key_values"]]
    assert told == [
        ("job_information", "name", "In_The_File"),
        ("job_information", "project_name", "Own"),
        ("variable", "N", "5"),
        ("variable_model", "N", "PA:INTEGER[1,10]"),
        ("variable_advanced", "N", "false"),
        ("variable_hidden", "N", "false"),
        ("variable", "SPEC", "x"),
        ("variable_model", "SPEC", "PA:NOT_EMPTY_STRING"),
        ("variable_description", "SPEC", "What is wanted"),
        ("variable_group", "SPEC", "Overlay"),
        ("variable_advanced", "SPEC", "true"),
        ("variable_hidden", "SPEC", "false"),
        ("General", "description", "Says hello"),
        ("General", "main.icon", "/automation-dashboard/styles/patterns/img/wf-icons/wf-default-icon.png"),
        ("generic_information", "group", "public-objects"),
        ("generic_information", "bucketName", "probe"),
    ]
    assert list(item["variables_order"]) == ["", "Overlay"]
    assert item["variables_order"]["Overlay"]["SPEC"] == {
        "name": "SPEC",
        "value": "x",
        "model": "PA:NOT_EMPTY_STRING",
        "description": "What is wanted",
        "group": "Overlay",
        "advanced": True,
        "hidden": False,
    }


def test_a_script_keeps_its_bytes_and_its_extension(catalog: Client) -> None:
    content = b"\xff\x00print(1)\r\n"
    catalog.add("probe_script", content, **SCRIPT, file_name="x.py")
    raw = catalog.ask("GET", "/buckets/probe/resources/probe_script/raw")
    assert raw.content == content
    assert raw.headers["content-type"] == "text/x-python;charset=UTF-8"
    assert raw.headers["content-disposition"] == 'attachment; filename="probe_script.py"'
    catalog.add("bare", content, **{**SCRIPT, "objectContentType": "plain text"}, file_name="bare")
    raw = catalog.ask("GET", "/buckets/probe/resources/bare/raw")
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["content-disposition"] == 'attachment; filename="bare"'


def test_a_workflow_without_extension_is_downloaded_with_one(catalog: Client) -> None:
    catalog.add("Deploy", workflow(), **FLOW, file_name="Deploy")
    raw = catalog.ask("GET", "/buckets/probe/resources/Deploy/raw")
    assert raw.headers["content-disposition"] == 'attachment; filename="Deploy.xml"'


@pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "a,b"])
def test_an_object_of_a_bad_name_is_refused(catalog: Client, name: str) -> None:
    answer = catalog.ask(
        "POST", "/buckets/probe/resources", params={**SCRIPT, "name": name}, files={"file": ("x.py", b"1")}
    )
    status, text = error(answer)
    assert (status, text.splitlines()[0]) == (400, f"The object name: '{name}' is not valid. ")


@pytest.mark.parametrize("name", ["a b", "a:b", "a?b", "a#b", "a%b", "é漢", "a\tb", 'a"b', "a\\b<"])
def test_an_object_of_an_odd_name_can_be_read_again(catalog: Client, name: str) -> None:
    assert catalog.add(name, "x", **SCRIPT, file_name="x.py").status_code == 201
    path = f"/buckets/probe/resources/{requests.utils.quote(name, safe='')}"
    assert catalog.ask("GET", path).json()["name"] == name
    assert catalog.ask("GET", path + "/raw").text == "x"


@pytest.mark.parametrize("kind", ["x", "x/", "/x", "a//b", "a:b", "", "Script/x", "-ab", "ab-"])
def test_an_object_of_a_bad_kind_or_content_type_is_refused(catalog: Client, kind: str) -> None:
    assert error(catalog.add("o", "x", **{**SCRIPT, "kind": kind})) == (
        400,
        f"The kind name: '{kind}' is not valid, please check the specification of the kind parameter naming",
    )
    status, text = error(catalog.add("o", "x", **{**SCRIPT, "objectContentType": kind}))
    assert (status, text.partition(" is not")[0]) == (400, f"The Content-Type name: '{kind}'")


def test_kinds_and_content_types_are_no_closed_list(catalog: Client) -> None:
    for number, kind in enumerate(["Rule/host", "NodeSource", "my kind/of=+thing", "ab/"]):
        assert catalog.add(f"k{number}", "{{{", **{**SCRIPT, "kind": kind}).status_code == 201
    for number, kind in enumerate(["text/plain; charset=utf-8", "application/vnd.x+json", "plain text"]):
        assert catalog.add(f"c{number}", "x", **{**SCRIPT, "objectContentType": kind}).status_code == 201


def test_a_long_kind_is_judged_without_trying_every_way_to_split_it(catalog: Client) -> None:
    assert catalog.add("o", "x", **{**SCRIPT, "kind": "a" * 200 + "!"}).status_code == 400
    assert catalog.add("o", "x", **SCRIPT, tags="a" * 200 + "!").status_code == 400


@pytest.mark.parametrize("tags", ["t1, t2", ",t1", "t1,", "1t", "a", "t;x"])
def test_bad_tags_are_refused(catalog: Client, tags: str) -> None:
    assert error(catalog.add("o", "x", **SCRIPT, tags=tags)) == (
        400,
        f"The tags name: '{tags}' is not valid, please check the specification of the tags parameter naming",
    )


def test_good_tags_are_kept(catalog: Client) -> None:
    assert catalog.add("o", "x", **SCRIPT, tags="t1,t two").json()["object"][0]["tags"] == "t1,t two"
    assert [each["name"] for each in catalog.ask("GET", "/buckets/probe/resources?objectTag=T1").json()] == ["o"]


@pytest.mark.parametrize("lacking", ["kind", "commitMessage", "objectContentType"])
def test_what_a_new_object_needs(catalog: Client, lacking: str) -> None:
    told = {key: value for key, value in SCRIPT.items() if key != lacking}
    text = f"Bad Request, missing parameter: Required String parameter '{lacking}' is not present"
    assert error(catalog.add("o", "x", **told)) == (400, text)


def test_an_object_can_be_told_of_in_fields_of_the_form(catalog: Client) -> None:
    path = "/buckets/probe/resources"
    answer = catalog.ask("POST", path, data={"name": "o", **SCRIPT, "commitMessage": ""}, files={"file": ("x", b"1")})
    assert answer.status_code == 201


def test_an_object_is_refused_in_the_catalogs_words(catalog: Client) -> None:
    path = "/buckets/probe/resources"
    catalog.add("o", "x", **SCRIPT)
    assert error(catalog.add("o", "x", **SCRIPT)) == (
        409,
        "Catalog Object with name 'o' already exists in bucket: 'probe'",
    )
    assert catalog.add("O", "x", **SCRIPT).status_code == 201
    assert error(catalog.ask("POST", path, params={**SCRIPT, "name": "p"}, data=b"x")) == (
        415,
        "Unsupported Media Type, body does not have a correct value",
    )
    assert catalog.ask("POST", path, params={**SCRIPT, "name": "p"}, files={"other": b"x"}).status_code == 400
    assert error(catalog.add("o", "x", path="/buckets/none/resources", **SCRIPT)) == (
        404,
        "Cannot find bucket with bucketName : none",
    )
    for bucket, name in (("probe", "none"), ("none", "o")):
        assert error(catalog.ask("GET", f"/buckets/{bucket}/resources/{name}")) == (
            404,
            f"Catalog Object is not found in bucket with name: '{bucket}' for object name: '{name}'",
        )
    assert error(catalog.add("o" * 256, "x", **SCRIPT))[0] == 400
    assert error(catalog.add("long", "x", **{**SCRIPT, "commitMessage": "m" * 256}))[0] == 400


def test_of_four_who_create_an_object_at_once_one_does(catalog: Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: catalog.add("o", "x", **SCRIPT).status_code, range(4)))
    assert sorted(answers) == [201, 409, 409, 409]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(catalog: Client, server: Server) -> None:
    import http.client

    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.putrequest("POST", "/catalog/buckets/probe/resources?name=o")
    for name, value in {
        "sessionid": str(catalog.http.headers["sessionid"]),
        "content-type": "multipart/form-data; boundary=x",
        "content-length": "100000001",
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


# what is parsed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.replace("taskFlow>", "taskFlood>"), 'At [tag:job] : Error: tag name "taskFlood" is not allowed.'),
        (lambda x: x.replace('value="5"', 'value="11"'), "At [tag:job] : Variable 'N': Model PA:INTEGER[1,10]: "),
        (lambda x: x.replace("3.13", "3.14"), "At [tag:job] : Cannot invoke "),
        (lambda _: "", "At [tag:job] : "),
        (lambda x: x.replace("<job ", "<!DOCTYPE job SYSTEM 'file:///etc/passwd'><job "), "At [tag:job] : "),
        (
            lambda x: x.replace(' language="cpython"', ""),
            'At [tag:job] : At [task=Plan] : Error: element "code" is missing ',
        ),
        (
            lambda x: x.replace("PA:NOT_EMPTY_STRING", "PA:CATALOG_OBJECT"),
            (
                "At [tag:job] : Variable 'SPEC': Model PA:CATALOG_OBJECT: Expected value should match regular "
                "expression ^[^/]+/[^/]+(/[^/][0-9]{12})?$ , received x"
            ),
        ),
    ],
)
def test_a_workflow_that_a_scheduler_refuses_is_refused(
    catalog: Client, change: Callable[[str], str], message: str
) -> None:
    status, text = error(catalog.add("Broken", change(workflow()), **FLOW))
    assert (status, text.partition(message)[0]) == (422, "It was not possible to parse an object: ")
    assert catalog.ask("GET", "/buckets/probe/resources").json() == []


@pytest.mark.parametrize("kind", ["workflow", "Workflow/psa", "workflowx"])
def test_only_kinds_of_workflows_are_parsed(catalog: Client, kind: str) -> None:
    assert catalog.add("w", "{{{", **{**FLOW, "kind": kind}).status_code == 422
    assert catalog.add("s", "{{{", **{**FLOW, "kind": f"x{kind}"}).status_code == 201


def test_what_only_the_embedded_engine_refuses_is_stored(catalog: Client) -> None:
    text = workflow().replace(
        '<task name="Plan">',
        '<task name="Java"><selection><script><code language="groovy">selected = true</code></script></selection>'
        '<javaExecutable class="x.Y"/></task>'
        '<task name="Files" runAsMe="true" preciousLogs="true"><inputFiles><files includes="*" '
        'accessMode="transferFromGlobalSpace"/></inputFiles><parallel numberOfNodes="2"/><scriptExecutable><script>'
        '<file url="${PA_CATALOG_REST_URL}/buckets/scripts/resources/x/raw" language="cpython"/>'
        "</script></scriptExecutable></task>"
        '<task name="Plan">',
    )
    text = text.replace("PA:NOT_EMPTY_STRING", "PA:CREDENTIAL")
    answer = catalog.add("Odd", text, **{**FLOW, "kind": "Workflow/psa"})
    assert answer.status_code == 201, answer.text
    assert "javaExecutable" in catalog.text("Odd/raw")


def test_a_hidden_value_is_neither_stored_nor_downloaded(catalog: Client, server: Server, tmp_path: Path) -> None:
    text = workflow().replace('value="x" model="PA:NOT_EMPTY_STRING"', 'value="s3cret" model="PA:HIDDEN"')
    catalog.add("Secret", text, **FLOW)
    raw = catalog.text("Secret/raw")
    assert "s3cret" not in raw
    assert 'value="ENC(' in raw
    assert "s3cret" not in catalog.ask("GET", "/buckets/probe/resources/Secret").text
    assert not any(b"s3cret" in path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    assert b's3cret" model' in server.catalog.raw("probe", "Secret")
    again = catalog.add("Secret_Again", raw, **FLOW)
    assert again.status_code == 201
    assert b's3cret" model' in server.catalog.raw("probe", "Secret_Again")


# revisions


def test_every_revision_is_a_new_one(catalog: Client) -> None:
    path = "/buckets/probe/resources/Deploy/revisions"
    catalog.add("Deploy", workflow(), **FLOW, projectName="Probe")
    first = catalog.ask("GET", "/buckets/probe/resources/Deploy").json()["commit_time_raw"]
    answer = catalog.add("", workflow(), path=path, commitMessage="second")
    assert answer.status_code == 201
    second = answer.json()
    assert second["project_name"] == ""
    assert second["_links"]["content"]["href"].endswith(f"/Deploy/revisions/{second['commit_time_raw']}/raw")
    told = [(each["commit_message"], each["commit_time_raw"]) for each in catalog.ask("GET", path).json()]
    assert told == [("second", second["commit_time_raw"]), ("first", first)]
    assert catalog.ask("GET", f"{path}/{first}").json()["project_name"] == "Probe"
    assert 'projectName="Probe"' in catalog.ask("GET", f"{path}/{first}/raw").text
    assert error(catalog.ask("GET", f"{path}/1234567890123")) == (
        404,
        "Revision was not found for bucketName: probe object name: Deploy revision: 1234567890123",
    )
    assert error(catalog.ask("GET", f"{path}/abc"))[0] == 400
    assert error(catalog.add("", workflow(), path=path)) == (
        400,
        "Bad Request, missing parameter: Required String parameter 'commitMessage' is not present",
    )
    assert error(catalog.add("", "<job/>", path=path, commitMessage="x"))[0] == 422
    assert error(catalog.add("", workflow(), path=path.replace("Deploy", "Nope"), commitMessage="x"))[0] == 404


def test_revisions_committed_at_once_all_count(catalog: Client) -> None:
    catalog.add("o", "x", **SCRIPT)
    path = "/buckets/probe/resources/o/revisions"
    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(lambda n: catalog.add("", f"{n}", path=path, commitMessage="m").status_code, range(6))
    assert set(answers) == {201}
    moments = [each["commit_time_raw"] for each in catalog.ask("GET", path).json()]
    assert len(set(moments)) == 7
    assert moments == sorted(moments, reverse=True)


def test_restoring_a_revision_makes_a_new_one(catalog: Client) -> None:
    catalog.add("o", "old", **SCRIPT)
    path = "/buckets/probe/resources/o/revisions"
    first = catalog.ask("GET", path).json()[0]["commit_time_raw"]
    catalog.add("", "new", path=path, commitMessage="second")
    assert catalog.ask("PUT", f"{path}/{first}").status_code == 200
    messages = [each["commit_message"] for each in catalog.ask("GET", path).json()]
    assert messages[1:] == ["second", "first"]
    assert messages[0].startswith("Reverted from ")
    assert messages[0].endswith(" : first")
    assert catalog.text("o/raw") == "old"


def test_what_is_told_of_an_object_can_be_changed_in_place(catalog: Client) -> None:
    catalog.add("o", "x", **SCRIPT, projectName="Probe")
    path = "/buckets/probe/resources/o"
    assert error(catalog.ask("PUT", path)) == (400, "Wrong parameters: at least one parameter should be present")
    answer = catalog.ask("PUT", path, params={"kind": "Script/pre"})
    assert (answer.json()["kind"], answer.json()["project_name"]) == ("Script/pre", "")
    assert catalog.ask("PUT", path, params={"contentType": "text/plain"}).json()["content_type"] == "text/plain"
    assert catalog.ask("PUT", path, params={"projectName": "Two"}).json()["project_name"] == "Two"
    assert catalog.ask("PUT", path, params={"kind": "Workflow/standard"}).status_code == 422
    assert len(catalog.ask("GET", path + "/revisions").json()) == 1


# lists, archives, dependencies


def test_objects_are_listed_by_name_and_filtered(catalog: Client) -> None:
    for name, kind in (("b", "Script/task"), ("a", "Rule/host"), ("c", "script/pre")):
        catalog.add(name, "x", **{**SCRIPT, "kind": kind})

    def names(**filters: Any) -> list[str]:
        return [each["name"] for each in catalog.ask("GET", "/buckets/probe/resources", params=filters).json()]

    assert names() == ["a", "b", "c"]
    assert names(kind="SCRIPT") == ["b", "c"]
    assert names(kind="rule,script/pre") == ["a", "c"]
    assert names(objectName="B") == ["b"]
    assert names(pageNo=1, pageSize=2) == ["c"]
    assert names(unknown="x") == ["a", "b", "c"]


def test_objects_can_be_had_as_an_archive(catalog: Client) -> None:
    catalog.add("one", "1", **SCRIPT, file_name="x.py")
    for asked, status in (("one", 200), ("one,none", 206)):
        answer = catalog.ask("GET", "/buckets/probe/resources", params={"listObjectNamesForArchive": asked})
        assert answer.status_code == status
        assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["one.py"]


def test_what_objects_have_to_do_with_one_another(catalog: Client) -> None:
    catalog.add("script", "x", **SCRIPT)
    text = workflow().replace(
        '<variable name="N" value="5" model="PA:INTEGER[1,10]"/>',
        '<variable name="W" value="probe/none" model="PA:CATALOG_OBJECT(workflow)"/>',
    )
    text = text.replace(
        '<code language="cpython"><![CDATA[print(1 < 2)]]></code>',
        '<file url="${PA_CATALOG_REST_URL}/buckets/probe/resources/script/raw" language="cpython"/>',
    )
    assert catalog.add("Caller", text, **FLOW).status_code == 201
    assert catalog.ask("GET", "/buckets/probe/resources/Caller/dependencies").json() == {
        "depends_on": [
            {
                "bucket_and_object_name": "probe/none",
                "kind": "N/A",
                "revision_commit_time": "latest",
                "is_in_catalog": False,
            },
            {
                "bucket_and_object_name": "probe/script",
                "kind": "Script/task",
                "revision_commit_time": "latest",
                "is_in_catalog": True,
            },
        ],
        "called_by": [],
    }
    assert catalog.ask("GET", "/buckets/probe/resources/script/dependencies").json()["called_by"] == ["probe/Caller"]
    assert catalog.ask("DELETE", "/buckets/probe/resources/script").status_code == 200


def test_an_object_is_removed_with_its_revisions(catalog: Client) -> None:
    catalog.add("o", "x", **SCRIPT)
    catalog.add("", "y", path="/buckets/probe/resources/o/revisions", commitMessage="m")
    gone = catalog.ask("DELETE", "/buckets/probe/resources/o")
    assert (gone.status_code, gone.json()["name"], gone.json()["rights"]) == (200, "o", None)
    assert catalog.ask("DELETE", "/buckets/probe/resources/o").status_code == 404
    catalog.add("o", "z", **SCRIPT)
    assert len(catalog.ask("GET", "/buckets/probe/resources/o/revisions").json()) == 1


# the model PA:CATALOG_OBJECT


def test_a_variable_that_names_an_object_is_looked_up(catalog: Client, server: Server) -> None:
    catalog.add("Deploy it", workflow(), **FLOW)
    moment = catalog.ask("GET", "/buckets/probe/resources/Deploy it").json()["commit_time_raw"]

    def fault(model: str, value: str) -> str | None:
        return server.catalog.object_fault(model, value)

    for model in (
        "PA:CATALOG_OBJECT",
        "pa:catalog_object()",
        "PA:CATALOG_OBJECT(workflow)",
        "PA:CATALOG_OBJECT(Workflow/standard)",
        "PA:CATALOG_OBJECT(workflow,application/xml)",
        "PA:CATALOG_OBJECT(,application/xml)",
    ):
        assert fault(model, "probe/Deploy it") is None
    assert fault("PA:CATALOG_OBJECT", f"probe/Deploy it/{moment}") is None
    assert fault("PA:CATALOG_OBJECT?", "") is None
    assert fault("PA:CATALOG_OBJECT", "probe/Deploy it/x123456789012") == (
        "Catalog object [probe/Deploy it/x123456789012] does not exist."
    )
    catalog.ask("POST", "/buckets", params={"name": "closed"})
    catalog.add("o", "x", path="/buckets/closed/resources", **SCRIPT)
    catalog.ask("PUT", "/buckets/closed", params={"owner": "GROUP:others"})
    assert fault("PA:CATALOG_OBJECT", "closed/o") == "Access to catalog object [closed/o] is not authorized."
    assert fault("PA:CATALOG_OBJECT", "probe/none") == "Catalog object [probe/none] does not exist."
    assert fault("PA:CATALOG_OBJECT(script)", "probe/Deploy it") == (
        "Catalog object [probe/Deploy it] does not match the expected kind [script]."
    )
    assert fault("PA:CATALOG_OBJECT(,text/x)", "probe/Deploy it") == (
        "Catalog object [probe/Deploy it] does not match the expected content type [text/x]."
    )
    assert fault("PA:CATALOG_OBJECT", "sub") == (
        "Expected value should match regular expression ^[^/]+/[^/]+(/[^/][0-9]{12})?$ , received sub"
    )
    assert "at most two parameters" in str(fault("PA:CATALOG_OBJECT(a,b,c)", "probe/Deploy it"))


# submission by link


def test_a_workflow_is_handed_to_the_scheduler_by_name(catalog: Client, server: Server) -> None:
    catalog.add("Deploy it", workflow(), **FLOW)
    first = catalog.ask("GET", "/buckets/probe/resources/Deploy it").json()["commit_time_raw"]
    catalog.add("", workflow("Two"), path="/buckets/probe/resources/Deploy it/revisions", commitMessage="m")
    assert b'name="Deploy it"' in server.catalog.raw("probe", "Deploy it")
    assert b'name="Deploy it"' in server.catalog.raw("probe", "Deploy it", first)
    for revision in ("1", "abc"):
        with pytest.raises(LookupError):
            server.catalog.raw("probe", "Deploy it", revision)
    with pytest.raises(LookupError, match="is not found in bucket with name: 'none'"):
        server.catalog.raw("none", "Deploy it")
