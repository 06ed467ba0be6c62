"""Finds a published checkpoint: a directory of this machine, or a repository of the hub at one commit.

Promises that what it returns has a configuration, a tokenizer and its weights as safetensors, and that nothing that can
run code when it is read (pickles, Python files) was fetched. Knows nothing of what is in the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

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

log = structlog.get_logger(__name__)

WEIGHTS, SHARDED = "model.safetensors", "model.safetensors.index.json"
FETCHED = (
    "config.json", "generation_config.json", "README.md", SHARDED,
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt",
)  # fmt: skip
"""All that is ever fetched, the weights aside."""
PICKLED = re.compile(r"\.(bin|pt|pth|ckpt|pkl|h5|msgpack)$")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
MODEL_CARD_HEAD = re.compile(r"---\s*\n(.*?\n)---\s*(?:\n|$)", re.DOTALL)
LICENSE_LINE = re.compile(r"^license:[ \t]*([^\s#\[].*?)[ \t]*$", re.MULTILINE)
COMMIT = re.compile(r"[0-9a-f]{40}")
SPDX = {
    "apache-2.0": "Apache-2.0", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "cc0-1.0": "CC0-1.0",
    "cc-by-4.0": "CC-BY-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0", "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0", "gpl-3.0": "GPL-3.0-only", "mit": "MIT", "unlicense": "Unlicense",
}  # fmt: skip
"""The hub's names of licences, as SPDX expressions; others become LicenseRef-NAME."""
MAX_REFS = 20
"""Pull requests that are looked through for safetensors."""


class ImportSourceError(ValueError):
    """A checkpoint cannot be found, fetched or trusted; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ImportSource:
    """A checkpoint on this machine. ``commit`` is the hub's, empty for a directory; ``license`` empty if not told."""

    directory: Path
    name: str
    commit: str
    license: str

    @property
    def described(self) -> str:
        """Name and commit: what a manifest records as the base."""
        return f"{self.name}@{self.commit}" if self.commit else self.name


def find_source(id_or_path: str, revision: str | None = None) -> ImportSource:
    """A directory, or the hub's repository of that id, fetched at one commit and kept in the hub's cache.

    ``revision`` is a branch, tag, pull request (``refs/pr/1``) or commit; without it the main branch's newest commit is
    taken. Which commit it was, the result says. A download that broke off goes on where it stopped. Without a network
    the cache alone is asked. Raises ImportSourceError.
    """
    path = Path(id_or_path)
    if path.is_dir():
        if revision is not None:
            raise ImportSourceError(f"{path} is a directory, which has no revisions; leave the revision away")
        _check_files({file.name for file in path.iterdir()}, str(path), "")
        return ImportSource(path, path.resolve().name, "", _license(path))
    if not HUB_ID.fullmatch(id_or_path):
        raise ImportSourceError(f"{id_or_path} is neither a directory nor an id of the hub (OWNER/NAME)")
    directory = _fetch(id_or_path, revision)
    return ImportSource(directory, id_or_path, directory.name, _license(directory))


def _fetch(repository: str, revision: str | None) -> Path:
    at = f"{repository}, revision {revision}" if revision else repository
    try:
        info = HfApi().model_info(repository, revision=revision)
    except GatedRepoError as error:
        raise ImportSourceError(
            f"{at} is gated: accept its terms on its page, and set HF_TOKEN to a token of your account"
        ) from error
    except RevisionNotFoundError as error:
        raise ImportSourceError(f"{at} does not exist; name a branch, tag, refs/pr/N or commit of it") from error
    except RepositoryNotFoundError as error:
        raise ImportSourceError(
            f"{at} is not on the hub, or private; check its spelling, or set HF_TOKEN to a token that may read it"
        ) from error
    except HFValidationError as error:
        raise ImportSourceError(f"{repository} is no id of the hub: {error}") from error
    except (HfHubHTTPError, OSError) as error:  # offline, or the hub is: what was fetched before will do
        return _cached(repository, revision, error)
    names = {sibling.rfilename for sibling in info.siblings or ()}
    _check_files(names, at, "" if names & {WEIGHTS, SHARDED} else _offers(repository))
    wanted = [name for name in FETCHED if name in names]
    weights = [WEIGHTS] if WEIGHTS in names else ["model-*-of-*.safetensors"]
    if revision is None or not COMMIT.fullmatch(revision):
        log.info("pinned", repository=repository, revision=revision or "main", commit=info.sha)
    try:
        return Path(snapshot_download(repository, revision=info.sha, allow_patterns=[*wanted, *weights]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ImportSourceError(f"{at} could not be fetched: {error}; start again to go on") from error


def _cached(repository: str, revision: str | None, why: Exception) -> Path:
    try:
        directory = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise ImportSourceError(
            f"the hub cannot be reached ({type(why).__name__}: {why}), and {repository} was not fetched before; "
            f"try again with a network, or name a directory that holds the checkpoint"
        ) from error
    log.warning("the hub cannot be reached, taking what was fetched before", repository=repository, at=directory.name)
    # A download may have broken off before: what is missing is told here, as for a directory.
    _check_files({file.name for file in directory.iterdir()}, f"{repository} in the hub's cache", "")
    return directory


def _check_files(names: set[str], where: str, offer: str) -> None:
    if "config.json" not in names:
        raise ImportSourceError(f"{where} is no checkpoint of transformers: config.json is missing")
    if not names & {WEIGHTS, SHARDED}:
        pickled = sorted(name for name in names if PICKLED.search(name))
        if not pickled:
            raise ImportSourceError(f"{where} has no weights: {WEIGHTS} is missing")
        raise ImportSourceError(
            f"{where} has its weights pickled ({', '.join(pickled[:3])}), which can run code when they are loaded, and "
            f"no safetensors. {offer}Ask its owner for safetensors, or convert it: the hub's space "
            f"safetensors/convert opens a pull request with them; a file that you trust can be loaded with "
            f"transformers and written with save_pretrained(DIRECTORY, safe_serialization=True)"
        )
    if "tokenizer.json" not in names and not names >= {"vocab.json", "merges.txt"}:
        raise ImportSourceError(
            f"{where} has no byte-level BPE tokenizer: tokenizer.json is missing (or vocab.json and merges.txt)"
        )


def _offers(repository: str) -> str:
    """A sentence on pull requests that would bring safetensors; empty where there are none."""
    api = HfApi()
    try:
        refs = api.list_repo_refs(repository, include_pull_requests=True).pull_requests or []
        found = [ref.ref for ref in refs[:MAX_REFS] if api.file_exists(repository, WEIGHTS, revision=ref.ref)]
    except (HfHubHTTPError, OSError):  # it is an offer only
        return ""
    return f"Its {found[0]} has them: look who made it, and name it as the revision if you trust it. " if found else ""


def _license(directory: Path) -> str:
    """The licence that a model card's head names, as an SPDX expression."""
    card = directory / "README.md"
    if not card.is_file():
        return ""
    head = MODEL_CARD_HEAD.match(card.read_text(encoding="utf-8", errors="replace"))
    named = LICENSE_LINE.search(head[1]) if head else None
    if named is None:
        return ""
    name = named[1].strip("\"' ")
    return SPDX.get(name.lower()) or "LicenseRef-" + re.sub(r"[^A-Za-z0-9.-]+", "-", name)[:64].strip("-")
