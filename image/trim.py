"""Takes out of an installed environment what the service never opens.

    python trim.py SITE_PACKAGES

It needs nothing but Python, and runs while the image is built, before bytecode is compiled and the service is imported
once, so that an image in which it took too much away is not made. What is listed must be there: after an upgrade that
moved it the build says so, where the image would quietly grow.
"""

import shutil
import sys
from pathlib import Path
from typing import Final

UNUSED: Final = {
    "onnxruntime/capi/libonnxruntime.so*": "for programs in C; Python's module has all of it in itself",
    "onnxruntime/transformers": "rewrites models before they are served",
    "hf_xet": "quicker downloads from the hub, which the service never asks; huggingface-hub does without",
    "hf_xet-*.dist-info": "so that the bill of materials says so",
    "numpy/**/tests": "numpy's own tests",
    "tornado/test": "tornado's own tests",
}
"""Patterns below site-packages, and why nobody misses it."""


class NothingThereError(Exception):
    """A pattern matches nothing: the package has changed, and `UNUSED` must too."""


def trim(site_packages: Path) -> int:
    """Removes what is unused; tells how many bytes that were.

    Raises:
        NothingThereError: A pattern matches nothing; nothing was removed.
    """
    found = {pattern: list(site_packages.glob(pattern)) for pattern in UNUSED}
    if missing := sorted(pattern for pattern, paths in found.items() if not paths):
        raise NothingThereError(", ".join(missing))
    freed = 0
    for path in (path for paths in found.values() for path in paths):
        freed += sum(file.lstat().st_size for file in (path, *path.rglob("*")) if not file.is_dir())
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return freed


def main(site_packages: Path) -> int:
    """Exit code 1 where something is not as it was."""
    try:
        freed = trim(site_packages)
    except NothingThereError as error:
        sys.stderr.write(f"trim: no longer in {site_packages}: {error}. Look at it again, then change image/trim.py\n")
        return 1
    sys.stdout.write(f"trim: {freed / 1e6:.1f} MB that the service never opens\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
