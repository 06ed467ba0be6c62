"""Bases and datasets of the Hugging Face hub, or of a server that speaks its protocol (``HF_ENDPOINT``), or local.

Everything is taken at one commit. A branch is resolved to a commit at its first use and pinned in the work directory:
later runs there take that commit, whatever has become of the branch, until told otherwise. Files lie in the hub's own
cache; what was fetched once is there offline. Only data is fetched: no pickles, no Python.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from training.import_source import COMMIT, HUB_ID, SHARDED, WEIGHTS, find_source

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger(__name__)

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt",
)  # fmt: skip
WEIGHT_FILES = ("config.json", "generation_config.json", WEIGHTS, SHARDED, "model-*-of-*.safetensors")
DATA_FILES = ("README.md", "dataset.json", "*.parquet", "*.jsonl", "*.jsonl.zst", "*.txt")


class HubError(ValueError):
    """A dataset or a base cannot be fetched; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """Files on this machine. ``commit`` is the hub's, empty for what was local."""

    directory: Path
    name: str
    commit: str = ""

    @property
    def described(self) -> str:
        """Name and commit."""
        return f"{self.name}@{self.commit}" if self.commit else self.name


class Pins:
    """Which commit a branch was, when it was first used here. ``renew`` forgets what was pinned as it is asked for.

    Without a path nothing is remembered.
    """

    def __init__(self, path: Path | None, *, renew: bool = False) -> None:
        self._path = path
        self._renew = renew

    def commit(self, kind: str, repository: str, revision: str) -> str | None:
        """The commit to take, or None where a branch has not been pinned."""
        if COMMIT.fullmatch(revision):
            return revision
        if self._renew:
            return None
        return self._read().get(_key(kind, repository, revision))

    def pin(self, kind: str, repository: str, revision: str, commit: str) -> None:
        """Remembers a branch's commit."""
        if revision == commit or self._path is None:
            return
        pins = self._read()
        key = _key(kind, repository, revision)
        if pins.get(key) == commit:
            return
        log.info("pinned", repository=repository, revision=revision, commit=commit, before=pins.get(key, "nothing"))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_text(json.dumps({**pins, key: commit}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(self._path)

    def _read(self) -> dict[str, str]:
        if self._path is None or not self._path.is_file():
            return {}
        try:
            pins: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise HubError(f"{self._path} is damaged ({error}); remove it to pin anew") from error
        return pins


def fetch_base(id_or_path: str, revision: str, pins: Pins, *, tokenizer_elsewhere: bool = False) -> Found:
    """A base's configuration, weights and, unless that is elsewhere, tokenizer.

    Raises ImportSourceError, and HubError.
    """
    path = Path(id_or_path)
    if path.is_dir():
        return Found(find_source(id_or_path).directory, path.resolve().name)
    if tokenizer_elsewhere:
        found = _fetch(id_or_path, "model", revision, WEIGHT_FILES, pins)
        if not any((found.directory / name).is_file() for name in (WEIGHTS, SHARDED)):
            raise HubError(f"{found.described} has no safetensors ({WEIGHTS}); name a revision that has")
        return found
    source = find_source(id_or_path, pins.commit("model", id_or_path, revision) or revision)
    pins.pin("model", id_or_path, revision, source.commit)
    return Found(source.directory, source.name, source.commit)


def fetch_tokenizer(repository: str, revision: str, pins: Pins) -> Path:
    """A directory with a base's tokenizer, from another revision than its weights. Raises HubError."""
    return _fetch(repository, "model", revision, TOKENIZER_FILES, pins).directory


def fetch_dataset(id_or_path: str, revision: str, pins: Pins) -> Found:
    """A dataset's files: those at a path, or those of the hub's dataset of that id. Raises HubError."""
    path = Path(id_or_path)
    if path.exists():
        return Found(path, path.resolve().name)
    if not re.fullmatch(HUB_ID, id_or_path) or "/" not in id_or_path:
        raise HubError(f"{id_or_path} is neither a path that exists nor a dataset of the hub (OWNER/NAME)")
    return _fetch(id_or_path, "dataset", revision, DATA_FILES, pins)


def _fetch(repository: str, kind: str, revision: str, patterns: Sequence[str], pins: Pins) -> Found:
    at = f"the {kind} {repository}, revision {revision},"
    wanted = pins.commit(kind, repository, revision)
    try:
        commit = wanted or str(HfApi().repo_info(repository, repo_type=kind, revision=revision).sha)
        directory = Path(snapshot_download(repository, repo_type=kind, revision=commit, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        raise HubError(f"{at} is gated: accept its terms on its page, and set HF_TOKEN to your token") from error
    except RevisionNotFoundError as error:
        raise HubError(f"{at} does not exist; name a branch, tag or commit of it") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{at} is not on the hub, or private; check its spelling, or set HF_TOKEN to a token that may read it"
        ) from error
    except HFValidationError as error:
        raise HubError(f"{repository} is no name of the hub: {error}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:  # offline, or the hub is
        directory = _cached(repository, kind, wanted or revision, patterns, error)
    pins.pin(kind, repository, revision, directory.name)
    return Found(directory, repository, directory.name)


def _cached(repository: str, kind: str, revision: str, patterns: Sequence[str], why: Exception) -> Path:
    try:
        found = snapshot_download(
            repository, repo_type=kind, revision=revision, allow_patterns=list(patterns), local_files_only=True
        )
    except LocalEntryNotFoundError as error:
        raise HubError(
            f"the hub cannot be reached ({type(why).__name__}: {why}), and {repository} was not fetched before; try "
            f"again with a network, or name what is on this machine (--base DIR, --data PATH)"
        ) from error
    log.warning("the hub cannot be reached, taking what was fetched before", repository=repository)
    return Path(found)


def _key(kind: str, repository: str, revision: str) -> str:
    return f"{kind}:{repository}@{revision}"
