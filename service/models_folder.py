"""The bundles in the models folder: which are whole, which are not, and why.

A look costs a `stat` for each file; only what has changed since the last look is read, and verified to the last byte.
Knows nothing of engines or of HTTP, and raises nothing for what lies in the folder. Looks block: take a thread.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from greentext.bundle import MANIFEST_NAME, BundleError, ModelManifest, read_manifest, verify
from greentext.manifest import FILE_NAMES

MAX_CARD_BYTES: Final = 1024**2

logger = logging.getLogger("bentoml.service.greentext")

Stamp = tuple[tuple[str, int, int, int], ...]
"""Name, time of change in ns, size in bytes and inode of each file: another stamp, another bundle."""


@dataclass(frozen=True, slots=True)
class WholeBundle:
    """A bundle that was verified, as it was then."""

    directory: Path
    manifest: ModelManifest
    card: str
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class UnusableBundle:
    """A bundle that cannot be served as it is. `directory` is its name in the folder."""

    directory: str
    state: Literal["incomplete", "broken"]
    reason: str


def open_bundle(directory: Path) -> WholeBundle:
    """A bundle, verified.

    Raises:
        BundleError: It is not whole; the message says what to do.
    """
    manifest = verify(directory)
    stamp = _stamp(directory)
    with (directory / "README.md").open("rb") as file:
        card = file.read(MAX_CARD_BYTES).decode("utf-8", "replace")
    return WholeBundle(directory, manifest, card, stamp)


class ModelsFolder:
    """A folder of bundles. Not for use from two threads at once."""

    def __init__(self, folder: Path, without: Path) -> None:
        """`without` is a bundle that somebody else takes care of, wherever it lies."""
        self._folder = folder
        self._without = without
        self._known: dict[str, tuple[Stamp, WholeBundle | UnusableBundle]] = {}

    def look(self) -> tuple[list[WholeBundle], list[UnusableBundle]]:
        """What lies there now, by the names of the directories. A folder that is not there is empty."""
        found: dict[str, tuple[Stamp, WholeBundle | UnusableBundle]] = {}
        for directory in self._directories():
            try:
                stamp = _stamp(directory)
            except OSError:  # it went away in between, or is not for us to read
                continue
            if not {name for name, *_ in stamp} & {MANIFEST_NAME, *FILE_NAMES}:
                continue
            known = self._known.get(directory.name)
            found[directory.name] = known if known and known[0] == stamp else (stamp, self._check(directory, stamp))
        self._known = found
        bundles = [bundle for _, bundle in found.values()]
        return (
            [bundle for bundle in bundles if isinstance(bundle, WholeBundle)],
            [bundle for bundle in bundles if isinstance(bundle, UnusableBundle)],
        )

    def _directories(self) -> list[Path]:
        try:
            # What begins with a dot is a bundle being written, or none.
            names = sorted(
                entry.name for entry in os.scandir(self._folder) if not entry.name.startswith(".") and entry.is_dir()
            )
        except OSError:
            return []
        without = self._without.resolve()
        return [path for name in names if (path := self._folder / name).resolve() != without]

    def _check(self, directory: Path, stamp: Stamp) -> WholeBundle | UnusableBundle:
        try:
            if missing := _missing(directory, stamp):
                return UnusableBundle(directory.name, "incomplete", missing)
            return open_bundle(directory)
        except (BundleError, OSError) as error:
            reason = str(error).replace(f"{self._folder}{os.sep}", "")
            logger.warning("unusable bundle: %s", reason)
            return UnusableBundle(directory.name, "broken", reason)


def _stamp(directory: Path) -> Stamp:
    entries = [(entry.name, entry.stat()) for entry in os.scandir(directory)]
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in entries))


def _ends_as_json(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 16))
        return file.read().rstrip().endswith((b"}", b"]"))


def _missing(directory: Path, stamp: Stamp) -> str | None:
    """What a bundle that is being copied lacks yet; None where the files have the sizes that they should have."""
    sizes = {name: size_bytes for name, _, size_bytes, _ in stamp}
    if not sizes.get(MANIFEST_NAME):
        return f"there is no {MANIFEST_NAME} yet"
    try:
        manifest = read_manifest(directory)
    except BundleError:
        # Anything else than an end that is missing, `verify` explains.
        return None if _ends_as_json(directory / MANIFEST_NAME) else f"{MANIFEST_NAME} has no end yet"
    for name in FILE_NAMES:
        want = manifest.files[name].size_bytes
        if name not in sizes:
            return f"{name} is not there yet"
        if sizes[name] < want:
            return f"{name} has {sizes[name]} of {want} bytes yet"
    return None
