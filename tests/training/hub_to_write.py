"""A hub that is written to: one model repository with files, commits, and large files that are uploaded aside."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

TOKEN = "hf_test"
LARGE = (".safetensors", ".onnx")


class WritableHub:
    """What it was asked to create, what it holds, and the commits that made it so."""

    def __init__(self, repository: str) -> None:
        self.repository = repository
        self.url = ""
        self.forget()
        api = f"/api/models/{repository}"
        self.app = Starlette(
            routes=[
                Route("/api/repos/create", self.create, methods=["POST"]),
                Route("/api/validate-yaml", self.validate_yaml, methods=["POST"]),
                Route(api, self.info),
                Route(f"{api}/revision/main", self.info),
                Route(f"{api}/tree/main", self.tree),
                Route(f"{api}/preupload/main", self.preupload, methods=["POST"]),
                Route(f"{api}/commit/main", self.commit, methods=["POST"]),
                Route(f"/{repository}.git/info/lfs/objects/batch", self.batch, methods=["POST"]),
                Route("/upload/{oid}", self.upload, methods=["PUT"]),
            ]
        )

    def forget(self) -> None:
        """As it was at first."""
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.large: dict[str, bytes] = {}
        self.fail_commits_with = 0

    @staticmethod
    def refused(request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {TOKEN}":
            return None
        return JSONResponse({"error": "Invalid username or password."}, 401)

    async def create(self, request: Request) -> Response:
        if refusal := self.refused(request):
            return refusal
        wanted = await request.json()
        address = f"{self.url}/{self.repository}"
        if self.created:
            return JSONResponse({"error": "You already created this model repo", "url": address}, 409)
        self.created.append({"type": wanted.get("type"), **wanted})
        return JSONResponse({"url": address, "name": self.repository})

    async def validate_yaml(self, request: Request) -> Response:
        content = (await request.json())["content"]
        if not isinstance(yaml.safe_load(content.split("---\n")[1]), dict):
            return JSONResponse({"errors": [{"message": "no head"}], "warnings": []}, 400)
        return JSONResponse({"errors": [], "warnings": []})

    async def info(self, request: Request) -> Response:
        siblings = [{"rfilename": name} for name in self.files]
        sha = self.commits[-1] if self.commits else "0" * 40
        return JSONResponse({"id": self.repository, "sha": sha, "siblings": siblings, "private": True})

    async def tree(self, request: Request) -> Response:
        rows = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324
            for name, content in self.files.items()
        ]
        return JSONResponse(rows)

    async def preupload(self, request: Request) -> Response:
        files = []
        for file in (await request.json())["files"]:
            is_large = file["path"].endswith(LARGE)
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
        return JSONResponse({"commitUrl": f"{self.url}/{self.repository}/commit/{oid}", "commitOid": oid})


@contextmanager
def serving_writable(repository: str) -> Iterator[WritableHub]:
    """A hub on a port of this machine."""
    hub = WritableHub(repository)
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
