"""The hub of `published`, with datasets beside models and files in folders, and a server for both."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.training.published import FakeHub, _Handler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class HubOfBoth(FakeHub):
    """A dataset's id begins with `datasets/`. A commit is of what a directory holds."""

    def add(self, repository: str, directory: Path, *, revision: str = "main") -> str:
        content = b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())
        commit = hashlib.sha1(repository.encode() + content, usedforsecurity=False).hexdigest()
        revisions = self.repositories.setdefault(repository, {})
        revisions[revision] = revisions[commit] = (commit, directory)
        return commit


class _HandlerOfBoth(_Handler):
    def do_GET(self) -> None:  # noqa: N802 - as the standard library calls it
        path = self.path.partition("?")[0].replace("%2F", "/")
        if found := re.fullmatch(r"/api/(datasets/.+?)/revision/(.+)", path):
            self.hub.asked.append(f"{self.command} {self.path}")
            self._info(found[1], found[2])
        elif found := re.fullmatch(r"/api/(datasets/.+)", path):
            self.hub.asked.append(f"{self.command} {self.path}")
            self._info(found[1], "main")
        else:
            super().do_GET()

    def _info(self, repository: str, revision: str) -> None:
        if (state := self._find(repository, revision)) is None:
            return
        commit, directory = state
        names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
        siblings = [{"rfilename": name} for name in names]
        name = repository.removeprefix("datasets/")
        self._json({"id": name, "modelId": name, "sha": commit, "siblings": siblings, "private": False})


@contextmanager
def serving_both() -> Iterator[HubOfBoth]:
    """A hub of models and datasets on a port of this machine."""
    hub = HubOfBoth()
    handler = type("Handler", (_HandlerOfBoth,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
