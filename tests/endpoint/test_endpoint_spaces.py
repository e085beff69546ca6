"""Files in the data spaces, and what does not lead out of them."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from tests.endpoints import Served
from tests.engine.conftest import task, workflow


def space(served: Served, name: str = "user") -> Path:
    return served.folder / "state" / "overlay" / "spaces" / name


@pytest.mark.parametrize("name", ["user", "global"])
def test_a_file_is_uploaded_listed_fetched_and_removed(served: Served, name: str) -> None:
    path = f"/rest/data/{name}/in a/sp%C3%A9c.yaml"
    assert served.ask("PUT", path, data=b"version: 1\n").status_code == 201
    answer = served.ask("GET", path)
    assert (answer.content, answer.headers["content-type"]) == (b"version: 1\n", "application/octet-stream")
    listing = served.ask("GET", f"/rest/data/{name}/in a?comp=list").json()
    assert listing == {"directoryListing": [], "fileListing": ["spéc.yaml"], "fullListing": ["spéc.yaml"]}
    assert served.get(f"/dataspace/{name}/in a/sp%C3%A9c.yaml") == "version: 1\n"
    assert served.ask("DELETE", path).status_code == 204
    assert served.ask("GET", path).status_code == 404
    assert served.ask("DELETE", path).status_code == 404


def test_what_comes_packed_is_unpacked_and_a_folder_is_fetched_as_an_archive(served: Served) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x/y.txt", "y")
    headers = {"content-encoding": "zip"}
    assert served.ask("PUT", "/rest/data/user/zipped", data=packed.getvalue(), headers=headers).status_code == 201
    headers = {"content-encoding": "gzip"}
    body = gzip.compress(b"plain")
    assert served.ask("PUT", "/rest/data/user/zipped/z.txt", data=body, headers=headers).status_code == 201
    with zipfile.ZipFile(io.BytesIO(served.ask("GET", "/rest/data/user/zipped").content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"x/y.txt": b"y", "z.txt": b"plain"}
    assert served.ask("GET", "/rest/data/user/zipped?comp=list&includes=**/*.txt").json()["fileListing"] == [
        "x/y.txt", "z.txt"]  # fmt: skip


def test_the_older_form_takes_and_gives_files_as_well(served: Served) -> None:
    form = {"fileName": (None, "old.txt"), "fileContent": ("old.txt", b"\x00\xff\r\nold", "application/octet-stream")}
    assert served.ask("POST", "/rest/scheduler/dataspace/USERSPACE/older", files=form).json() is True
    assert (space(served) / "older" / "old.txt").read_bytes() == b"\x00\xff\r\nold"
    answer = served.ask("DELETE", "/rest/scheduler/dataspace/user/older/old.txt")
    assert answer.json() is True


@pytest.mark.parametrize("path", ["%2E%2E/x", "a/%2E%2E/%2E%2E/x", "link/x", "%2Fetc%2Fpasswd%2F..%2F..%2F..%2F..%2Fx"])
def test_no_path_leads_out_of_a_space(served: Served, path: str, tmp_path: Path) -> None:
    space(served).mkdir(parents=True, exist_ok=True)
    link = space(served) / "link"
    if not link.is_symlink():
        link.symlink_to(tmp_path)
    outside = served.ask("PUT", f"/rest/data/user/{path}", data=b"x")
    assert outside.status_code in (403, 404) or (space(served) / "etc").exists()
    assert not (tmp_path / "x").exists()
    assert not (served.folder / "state" / "overlay" / "spaces" / "x").exists()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr("../out.txt", "x")
    headers = {"content-encoding": "zip"}
    assert served.ask("PUT", "/rest/data/user/z", data=archive.getvalue(), headers=headers).status_code == 400
    assert not (space(served) / "out.txt").exists()


def test_an_unknown_space_is_refused_and_a_space_is_not_removed(served: Served) -> None:
    assert served.ask("GET", "/rest/data/cache/x").status_code == 400
    assert served.ask("DELETE", "/rest/data/user/").status_code == 400


def test_a_task_finds_what_was_uploaded_and_what_it_leaves_is_fetched(served: Served) -> None:
    served.ask("PUT", "/rest/data/user/for/task.txt", data=b"from outside")
    code = (
        "from pathlib import Path\nplace = Path(userspace, 'for')\n"
        "(place / 'answer.txt').write_text((place / 'task.txt').read_text() + ' and back')"
    )
    served.until(served.submit(workflow(task("A", code))))
    assert served.ask("GET", "/rest/data/user/for/answer.txt").text == "from outside and back"
