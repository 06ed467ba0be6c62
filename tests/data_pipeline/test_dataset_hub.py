"""Publishing, against a server that speaks the hub's protocol as `huggingface_hub` uses it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from data_pipeline.dataset import DatasetSettings, run
from data_pipeline.dataset.stage import published_sha256
from data_pipeline.rows import Source, TextRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_test"
REPOSITORY = "somebody/stories"


class FakeHub:
    """One dataset repository: files, commits, large files uploaded aside, and a token that it asks for."""

    def __init__(self) -> None:
        self.url = ""
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.large: dict[str, bytes] = {}
        self.fail_commits_with = 0
        self.app = Starlette(
            routes=[
                Route("/api/repos/create", self.create, methods=["POST"]),
                Route("/api/validate-yaml", self.validate_yaml, methods=["POST"]),
                Route(f"/api/datasets/{REPOSITORY}", self.info),
                Route(f"/api/datasets/{REPOSITORY}/revision/main", self.info),
                Route(f"/api/datasets/{REPOSITORY}/tree/main", self.tree),
                Route(f"/api/datasets/{REPOSITORY}/preupload/main", self.preupload, methods=["POST"]),
                Route(f"/api/datasets/{REPOSITORY}/commit/main", self.commit, methods=["POST"]),
                Route(f"/datasets/{REPOSITORY}.git/info/lfs/objects/batch", self.batch, methods=["POST"]),
                Route("/upload/{oid}", self.upload, methods=["PUT"]),
            ]
        )

    @staticmethod
    def refused(request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {TOKEN}":
            return None
        return JSONResponse({"error": "Invalid username or password."}, 401)

    async def create(self, request: Request) -> Response:
        if refusal := self.refused(request):
            return refusal
        wanted = await request.json()
        if self.created:
            return JSONResponse({"error": "You already created this dataset repo", "url": self.repository_url}, 409)
        self.created.append(wanted)
        return JSONResponse({"url": self.repository_url, "name": REPOSITORY})

    @property
    def repository_url(self) -> str:
        return f"{self.url}/datasets/{REPOSITORY}"

    async def validate_yaml(self, request: Request) -> Response:
        content = (await request.json())["content"]
        try:
            assert isinstance(yaml.safe_load(content.split("---\n")[1])["configs"], list)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            return JSONResponse({"errors": [{"message": repr(error)}], "warnings": []}, 400)
        return JSONResponse({"errors": [], "warnings": []})

    async def info(self, request: Request) -> Response:
        siblings = [{"rfilename": name} for name in self.files]
        sha = self.commits[-1] if self.commits else "0" * 40
        return JSONResponse({"id": REPOSITORY, "sha": sha, "siblings": siblings, "private": True})

    async def tree(self, request: Request) -> Response:
        return JSONResponse(
            [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324
                for name, content in self.files.items()
            ]
        )

    async def preupload(self, request: Request) -> Response:
        files = []
        for file in (await request.json())["files"]:
            is_large = file["path"].endswith((".parquet", ".png"))
            known = self.files.get(file["path"])
            oid = None
            if known is not None:
                blob = b"blob %d\0" % len(known) + known
                oid = hashlib.sha256(known).hexdigest() if is_large else hashlib.sha1(blob).hexdigest()  # noqa: S324
            mode = "lfs" if is_large else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return JSONResponse({"files": files})

    async def batch(self, request: Request) -> Response:
        objects = []
        for wanted in (await request.json())["objects"]:
            actions = {"upload": {"href": f"{self.url}/upload/{wanted['oid']}"}}
            objects.append(wanted | ({} if wanted["oid"] in self.large else {"actions": actions}))
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def upload(self, request: Request) -> Response:
        content = await request.body()
        assert hashlib.sha256(content).hexdigest() == request.path_params["oid"]
        self.large[request.path_params["oid"]] = content
        return Response()

    async def commit(self, request: Request) -> Response:
        if refusal := self.refused(request):
            return refusal
        if self.fail_commits_with:
            return JSONResponse({"error": "try later"}, self.fail_commits_with)
        for line in (await request.body()).splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "header":
                    self.commits.append(hashlib.sha1(repr(value).encode()).hexdigest())  # noqa: S324
                case "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    self.files[value["path"]] = self.large[value["oid"]]
                case "deletedFile":
                    del self.files[value["path"]]
        oid = self.commits[-1]
        return JSONResponse({"commitUrl": f"{self.repository_url}/commit/{oid}", "commitOid": oid})


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        hub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(hub.app, log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield hub
        server.should_exit = True
        thread.join()


def texts(path: Path, count: int) -> Path:
    rows = [
        TextRow(id=f"written:{n}", text=f">be me\n>number {n}\n>thank you {n}", source=Source.WRITTEN)
        for n in range(count)
    ]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return path


def push(hub: FakeHub, source: Path, out: Path, *more: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads its environment once."""
    environment = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(out.parent / "home"),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONWARNINGS": "error",
    }
    return subprocess.run(
        [sys.executable, "-m", "data_pipeline.cli", "dataset", str(source), "--out", str(out),
         "--push-to", REPOSITORY, *more],
        capture_output=True, text=True, cwd=ROOT, env=environment, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_dataset_is_published_once_and_replaced_as_a_whole(hub: FakeHub, tmp_path: Path) -> None:
    pushed = push(hub, texts(tmp_path / "one.jsonl", 40), tmp_path / "out")
    assert pushed.returncode == 0, pushed.stderr
    assert hub.repository_url in pushed.stdout
    assert [(made["name"], made["organization"], made["type"], made["private"]) for made in hub.created] == [
        ("stories", "somebody", "dataset", True)
    ]
    published = tmp_path / "out" / "published"
    assert hub.files == {
        str(path.relative_to(published)): path.read_bytes() for path in published.rglob("*") if path.is_file()
    }
    assert not any("jsonl" in name for name in hub.files)  # least of all what was dropped

    again = push(hub, tmp_path / "one.jsonl", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert len(hub.commits) == 1

    hub.files["README.md"] = b"edited by somebody"
    hub.files["LICENSE"] = b"theirs"
    fewer = push(hub, texts(tmp_path / "two.jsonl", 2), tmp_path / "other", "--validation", "0", "--test", "0")
    assert fewer.returncode == 0, fewer.stderr
    assert sorted(name for name in hub.files if name.endswith(".parquet")) == [
        "full/train.parquet",
        "simple/train.parquet",
        "thanks/train.parquet",
    ]
    assert hub.files["LICENSE"] == b"theirs"
    assert published_sha256(tmp_path / "other") in hub.files["README.md"].decode()


@pytest.mark.slow
def test_a_refusal_says_what_to_do_and_the_dataset_is_still_there(hub: FakeHub, tmp_path: Path) -> None:
    source = texts(tmp_path / "one.jsonl", 5)
    refused = push(hub, source, tmp_path / "out", token="wrong")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("gtx-data dataset: ")
    assert "HF_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert published_sha256(tmp_path / "out")
    hub.fail_commits_with = 500
    failed = push(hub, source, tmp_path / "out")
    assert (failed.returncode, "Traceback" in failed.stderr) == (1, False)
    hub.fail_commits_with = 0
    assert push(hub, source, tmp_path / "out").returncode == 0


@pytest.mark.parametrize("name", ["a/b/c", "-", "somebody/with space"])
def test_a_name_that_cannot_be_is_refused_before_anything_is_sent(tmp_path: Path, name: str) -> None:
    from data_pipeline.errors import StageError

    with pytest.raises(StageError, match="write OWNER/NAME"):
        run([texts(tmp_path / "one.jsonl", 3)], tmp_path / "out", DatasetSettings(push_to=name))
