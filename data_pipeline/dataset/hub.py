"""Publishing a dataset on the Hugging Face hub, or another server that speaks its protocol (`HF_ENDPOINT`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data_pipeline.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

OURS: Final = ("*.parquet", "plots/*.png")
"""Files of an earlier version that go where the new one has none of that name."""


def push(folder: Path, repository: str, *, private: bool, sha256: str) -> str:
    """Makes the repository what the folder is, in one commit, and answers its address.

    The token is the environment's (`HF_TOKEN`) or what `hf auth login` left. Pushing what is there already changes
    nothing.

    Raises:
        StageError: The hub cannot be reached, or refuses.
    """
    import httpx  # noqa: PLC0415
    from huggingface_hub import HfApi  # noqa: PLC0415  half a second that --help need not pay
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            folder_path=folder,
            repo_id=repository,
            repo_type="dataset",
            commit_message=f"Dataset {sha256[:16]}",
            delete_patterns=list(OURS),
        )
    except HFValidationError as error:
        raise StageError(f"{repository!r} is no repository's name ({error}): write OWNER/NAME") from error
    # OSError: no connection, or no token; RuntimeError: a large file did not get through; ValueError: it answers oddly.
    except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise StageError(
            f"{repository} could not be written at {api.endpoint} ({error}): "
            "check the connection, and that HF_TOKEN holds a token that may write there; then run again"
        ) from error
    return str(commit.repo_url)
