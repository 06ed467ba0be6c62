"""Publishes a model on the Hugging Face hub, or another server that speaks its protocol (``HF_ENDPOINT``).

One commit has all of it: the checkpoint where ``transformers`` looks for one, the portable export under ``onnx/``, the
bundle under ``bundle/``, and the bundle's card as the repository's. Nothing is sent before the bundle has been
verified, and found to be of the checkpoint.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from greentext.bundle import verify
from training.import_source import HUB_ID, SPDX

if TYPE_CHECKING:
    from pathlib import Path

    from greentext.bundle import ModelManifest

log = structlog.get_logger(__name__)

FOLDERS = ("onnx/", "bundle/")
"""Folders that are ours: what an earlier version left there goes."""
CHECKPOINT_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
)  # fmt: skip
HUB_LICENSES = {spdx: name for name, spdx in SPDX.items()}


class PublishError(RuntimeError):
    """A model cannot be published; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What goes where: paths in the repository, and what they hold."""

    name: str
    files: dict[str, Path | bytes]

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by its path in the repository."""
        return {
            path: len(content) if isinstance(content, bytes) else content.stat().st_size
            for path, content in sorted(self.files.items())
        }


def plan_publication(bundle: Path, checkpoint: Path | None = None, portable: Path | None = None) -> Publication:
    """The files of a publication. Raises BundleError, and PublishError when checkpoint and bundle do not match."""
    manifest = verify(bundle)
    files: dict[str, Path | bytes] = {}
    if checkpoint is not None:
        _check_same(checkpoint, manifest)
        files |= {name: checkpoint / name for name in CHECKPOINT_FILES if (checkpoint / name).is_file()}
    if portable is not None:
        if not (portable / "model.onnx").is_file():
            raise PublishError(f"{portable} holds no model.onnx; export it: gtx-train export CHECKPOINT {portable}")
        files |= {f"onnx/{path.name}": path for path in sorted(portable.iterdir()) if path.suffix in (".onnx", ".json")}
        files.pop("onnx/made-from.json", None)  # where a step keeps its record
    files |= {f"bundle/{path.name}": path for path in sorted(bundle.iterdir()) if path.is_file()}
    card = (bundle / "README.md").read_text(encoding="utf-8")
    files["README.md"] = (front_matter(manifest, with_checkpoint=checkpoint is not None) + card).encode()
    return Publication(manifest.name, files)


def publish(publication: Publication, repository: str, *, private: bool = True) -> str:
    """Makes the repository, where it is not there, and puts the files there in one commit; returns its address.

    The token is the environment's (``HF_TOKEN``) or what ``hf auth login`` left. Publishing what is there already
    changes nothing. Raises PublishError.
    """
    # Imported here: half a second that no other command needs.
    import httpx  # noqa: PLC0415
    import requests  # noqa: PLC0415
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    if not re.fullmatch(HUB_ID, repository) or "/" not in repository:
        raise PublishError(f"{repository!r} is no repository's name: write OWNER/NAME")
    api = HfApi()
    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=content if isinstance(content, bytes) else str(content))
        for path, content in publication.files.items()
    ]
    try:
        address = api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        there = api.list_repo_files(repository, repo_type="model")
        operations += [
            CommitOperationDelete(path_in_repo=path)
            for path in there
            if path.startswith(FOLDERS) and path not in publication.files
        ]
        api.create_commit(repository, operations, commit_message=f"Publish {publication.name}", repo_type="model")
    except HFValidationError as error:
        raise PublishError(f"{repository!r} is no repository's name ({error}): write OWNER/NAME") from error
    # OSError: no connection, or no token; RuntimeError: a large file did not get through; ValueError: it answers oddly.
    except (HfHubHTTPError, httpx.HTTPError, requests.RequestException, OSError, RuntimeError, ValueError) as error:
        raise PublishError(
            f"{repository} could not be written at {api.endpoint} ({' '.join(str(error).split())}): "
            f"check the connection, and that HF_TOKEN holds a token that may write there; then run again"
        ) from error
    log.info("published", repository=repository, files=len(publication.files))
    return str(address)


def front_matter(manifest: ModelManifest, *, with_checkpoint: bool) -> str:
    """The head of a card, as the hub reads it."""
    base, _, _ = manifest.base_model.partition("@")
    lines = [
        "---",
        f"license: {json.dumps(HUB_LICENSES.get(manifest.license, 'other'))}",
        "language:\n- en",
        "pipeline_tag: text-generation",
        *(["library_name: transformers"] if with_checkpoint else []),
        # A sentence, as of a model trained from scratch, is no name of the hub.
        *([f"base_model: {base}"] if re.fullmatch(HUB_ID, base) and "/" in base else []),
        "tags:\n- greentext\n- wholesome\n- onnx",
        "---\n\n",
    ]
    return "\n".join(lines)


def _check_same(checkpoint: Path, manifest: ModelManifest) -> None:
    try:
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise PublishError(f"{checkpoint} is no checkpoint: {error}") from error
    for name, there, wanted in (
        ("architecture", config.get("model_type"), manifest.architecture),
        ("vocabulary", config.get("vocab_size"), manifest.vocab_size),
        ("start token", config.get("bos_token_id"), manifest.control_tokens.start.id),
    ):
        if there != wanted:
            raise PublishError(
                f"{checkpoint} is not what the bundle was made of: its {name} is {there}, the bundle's {wanted}"
            )
