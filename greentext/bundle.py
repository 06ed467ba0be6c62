"""Model bundles: written whole or not at all, and checked before anybody opens the model.

A bundle is one directory: `model.onnx` (the serving graph), `tokenizer.json`, `README.md` (the model card) and
`manifest.json`, which says what the other three must be. `verify` answers whether they are, and trusts nothing in them:
only regular files are read, and only files of the size that their records say.

Two things are not promised. Who can write the directory can also write a manifest that fits: hashes tell accidents and
mix-ups, not authors. And what changes between `verify` and use is not seen: keep bundles where only deployment writes.

Nothing here needs, or looks into, ONNX.

    BundleError
    ├── LayoutError       the directory: a file is missing, unexpected, or no regular file
    ├── ManifestError     `manifest.json`: too large, not JSON, or not what the schema says
    ├── IntegrityError    a file is not the one that the manifest describes
    └── TokenizerError    `tokenizer.json` does not hold the control tokens that the manifest names
"""

import ctypes
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import from_json

from greentext.manifest import (
    FILE_NAMES,
    MAX_FILE_BYTES,
    ControlToken,
    ControlTokens,
    Dataset,
    DefaultSampling,
    FileName,
    FileRecord,
    ModelDescription,
    ModelManifest,
)

__all__ = [
    "BundleError",
    "ControlToken",
    "ControlTokens",
    "Dataset",
    "DefaultSampling",
    "FileRecord",
    "IntegrityError",
    "LayoutError",
    "ManifestError",
    "ModelDescription",
    "ModelManifest",
    "TokenizerError",
    "read_manifest",
    "verify",
    "write_bundle",
]

MANIFEST_NAME: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 1024**2
MAX_TOKENIZER_BYTES: Final = 64 * 1024**2
ALLOWED_BESIDES: Final = frozenset({"LICENSE", "NOTICE", ".gitattributes"})
"""What may lie in a bundle without a record: read by people and by git, never by the service."""


class BundleError(Exception):
    """A bundle cannot be used."""


class LayoutError(BundleError):
    """A file is missing, unexpected, or no regular file."""


class ManifestError(BundleError):
    """`manifest.json` is too large, not JSON, or not what the schema says."""


class IntegrityError(BundleError):
    """A file is not the one that the manifest describes."""


class TokenizerError(BundleError):
    """`tokenizer.json` does not hold the control tokens that the manifest names."""


def read_manifest(directory: Path) -> ModelManifest:
    """The manifest of a bundle, which says nothing yet of its files: `verify` does.

    Raises:
        LayoutError: There is no manifest, or it is no regular file.
        ManifestError: It is too large, not JSON, or not what the schema says.
    """
    path = directory / MANIFEST_NAME
    with _open_regular(path) as file:
        content = file.read(MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes; no manifest of ours is, package again")
    try:
        return ModelManifest.model_validate_json(content)
    except ValidationError as error:
        raise ManifestError(f"{path}: {_explain(error)}; correct it, or package the model again") from error


def verify(directory: Path) -> ModelManifest:
    """The manifest of a bundle whose every file is what the manifest says.

    Raises:
        LayoutError: A file is missing, unexpected, or no regular file.
        ManifestError: As `read_manifest`.
        IntegrityError: A file's size or SHA-256 differs from its record.
        TokenizerError: `tokenizer.json` lacks a control token, or has it under another id.
    """
    try:
        names = {entry.name for entry in os.scandir(directory)}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LayoutError(f"{directory}: no such directory; name one that holds a {MANIFEST_NAME}") from error
    manifest = read_manifest(directory)
    if unexpected := sorted(names - {MANIFEST_NAME, *FILE_NAMES} - ALLOWED_BESIDES):
        raise LayoutError(f"{directory}: unexpected {', '.join(unexpected)}; move what is no part of the bundle away")
    for name in FILE_NAMES:
        _check_file(directory / name, manifest.files[name])
    _check_tokenizer(directory / "tokenizer.json", manifest)
    return manifest


def write_bundle(
    directory: Path, description: ModelDescription, *, model: Path, tokenizer: Path, model_card: str
) -> ModelManifest:
    """Write a bundle with copies of `model` and `tokenizer`, and verify it before it takes its place.

    It is written beside `directory`, down to the disk, and then put in its place in one step. Whenever that ends, by
    whatever cause, `directory` holds what it held or the whole new bundle. A half-written `.NAME.*.new` beside it may
    outlive a crash; it can be removed.

    Returns:
        The manifest as written.

    Raises:
        BundleError: The new bundle does not pass `verify`; nothing was replaced.
        FileNotFoundError: `model` or `tokenizer` is not there.
        OSError: The disk is full, or the place cannot be written.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 - resolve() would follow a link in its place
    directory.parent.mkdir(parents=True, exist_ok=True)
    new = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.new")
    new.mkdir()
    try:
        shutil.copyfile(model, new / "model.onnx")
        shutil.copyfile(tokenizer, new / "tokenizer.json")
        (new / "README.md").write_text(model_card, encoding="utf-8")
        manifest = _manifest(description, new)
        (new / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        verify(new)
        for path in (*new.iterdir(), new):
            _sync(path)
        _put_in_place(new, directory)
        _sync(directory.parent)
    finally:
        # What is left here is the half-written bundle, or the one that was replaced.
        shutil.rmtree(new, ignore_errors=True)
    return manifest


def _manifest(description: ModelDescription, directory: Path) -> ModelManifest:
    files: dict[FileName, FileRecord] = {}
    for name in FILE_NAMES:
        path = directory / name
        size_bytes = path.stat().st_size
        if not 0 < size_bytes <= MAX_FILE_BYTES:
            raise IntegrityError(f"{name}: {size_bytes} bytes, of 1 to {MAX_FILE_BYTES}; check what was exported")
        with path.open("rb") as file:
            files[name] = FileRecord(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=size_bytes)
    return ModelManifest(**description.model_dump(exclude={"files"}), files=files)


@contextmanager
def _open_regular(path: Path) -> Iterator[BufferedReader]:
    """A regular file, opened to read; never a link, and never a device or pipe that would block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise LayoutError(f"{path}: missing; copy the bundle again, or package the model again") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise LayoutError(f"{path}: a link; put the file itself there") from error
        if error.errno == errno.ENXIO:
            raise LayoutError(f"{path}: no regular file; put one there") from error
        raise LayoutError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LayoutError(f"{path}: no regular file; put one there")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _check_file(path: Path, record: FileRecord) -> None:
    with _open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes != record.size_bytes:
            raise IntegrityError(
                f"{path}: {size_bytes} bytes where the manifest says {record.size_bytes}; copy the bundle again"
            )
        if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
            raise IntegrityError(f"{path}: not the file that the manifest describes (SHA-256); copy the bundle again")


def _check_tokenizer(path: Path, manifest: ModelManifest) -> None:
    """That `tokenizer.json` holds each control token, once, as a special token, under the manifest's id."""
    if manifest.files["tokenizer.json"].size_bytes > MAX_TOKENIZER_BYTES:
        raise TokenizerError(f"{path}: larger than {MAX_TOKENIZER_BYTES} bytes; no tokenizer of ours is")
    with _open_regular(path) as file:
        content = file.read(MAX_TOKENIZER_BYTES)
    try:
        # Nesting is bounded by this parser, unlike by the standard library's.
        tokenizer = from_json(content)
    except ValueError as error:
        raise TokenizerError(f"{path}: not JSON ({error}); save it with the `tokenizers` library") from error
    added = tokenizer.get("added_tokens") if isinstance(tokenizer, dict) else None
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise TokenizerError(f"{path}: no list of added tokens; save it with the `tokenizers` library")
    for control in (manifest.control_tokens.start, manifest.control_tokens.end):
        found = [token for token in added if token.get("content") == control.text or token.get("id") == control.id]
        as_said = [(token.get("content"), token.get("id"), token.get("special")) for token in found]
        if as_said != [(control.text, control.id, True)]:
            raise TokenizerError(
                f"{path}: the manifest wants {control.text!r} as a special token with id {control.id}, and the "
                f"tokenizer has {as_said or 'none'}; package the model with the tokenizer it was trained with"
            )


def _explain(error: ValidationError) -> str:
    """The first problem, by field: enough to act on, and free of the (unbounded) input."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])[:200]
    return f"{field}: {first['msg'][:500]}" if field else first["msg"][:500]


def _sync(path: Path) -> None:
    """The file or directory is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(new: Path, directory: Path) -> None:
    """`new` is `directory` from now on; what was there before, if anything, is `new`."""
    try:
        new.rename(directory)  # nothing there, or an empty directory
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _exchange(new, directory)


def _exchange(one: Path, other: Path) -> None:
    """Let two directories change places in one step, which `rename` cannot do where both hold files.

    Linux has a call for it since 3.15 (`renameat2(2)`, RENAME_EXCHANGE). Elsewhere it takes two renames, and a loss of
    power in between leaves the old bundle beside its place, as `.NAME.*.old`.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "renameat2"):
        at_working_directory, exchange = -100, 2
        if not library.renameat2(
            at_working_directory, os.fsencode(one), at_working_directory, os.fsencode(other), exchange
        ):
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):  # this file system cannot, or this kernel
            raise OSError(code, os.strerror(code), str(one), None, str(other))
    old = one.with_suffix(".old")
    other.rename(old)
    try:
        one.rename(other)
    except BaseException:
        old.rename(other)
        raise
    old.rename(one)
