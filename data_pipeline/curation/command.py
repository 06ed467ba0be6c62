"""``gtx-data curate DIR [INPUT ...]``: brings texts in, and serves the app over them."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data_pipeline.curation.database import FILE_NAME, Database
from data_pipeline.curation.errors import CurationError
from data_pipeline.errors import ForeignFolderError, StageError

if TYPE_CHECKING:
    from data_pipeline.curation.app import Access
    from data_pipeline.curation.incoming import Input

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 5001
EPILOG: Final = """\
a first time, from what ocr read:
  gtx-data curate runs/curation runs/data/ocr
then, whenever you like:
  gtx-data curate runs/curation
what was accepted, for filters and dataset (also while the app runs):
  gtx-data curated runs/curation --out runs/data/curated

docs/curation.md tells about keys, two people at once, other machines, and what INPUT may be.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``gtx-data curate``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder that holds texts, decisions and pictures")
    parser.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="brought in first: folders that ocr, synthesis, selftext, written or filters wrote; a db.json of the "
        "original app (or its folder); .jsonl files of rated generations. Bringing in again changes nothing",
    )
    parser.add_argument("--import-only", action="store_true", help="bring the inputs in, and do not serve")
    parser.add_argument(
        "--images",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="pictures may come from there too; otherwise from the inputs, and other stages' folders beside them",
    )
    parser.add_argument("--host", default=DEFAULT_HOST, help=f"the address to listen on (default: {DEFAULT_HOST})")
    parser.add_argument(
        "--port", default=DEFAULT_PORT, type=_port, help=f"the port; 0 takes a free one (default: {DEFAULT_PORT})"
    )
    password = parser.add_mutually_exclusive_group()
    password.add_argument("--password-from", metavar="ENV_NAME", help="the environment variable with the password")
    password.add_argument("--password-file", type=Path, metavar="FILE", help="a file with the password")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name or address by which others call this server; may be given several times",
    )
    parser.add_argument(
        "--behind-proxy",
        action="store_true",
        help="a proxy on the way ends TLS and sets X-Forwarded-For and X-Forwarded-Proto; needs a password",
    )
    parser.add_argument(
        "--lease-s",
        default=90.0,
        type=_seconds,
        metavar="SECONDS",
        help="a row stays with whom it was handed to that long after their page was last heard of (default: 90)",
    )
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="open a browser (default: when run in a terminal)",
    )


def main(options: argparse.Namespace) -> int:
    """Imports and serves; returns the exit code, 0, when it is told to end.

    Raises:
        StageError: Something given cannot be used; nothing was written then.
        OSError: A file cannot be read or written.
    """
    # What can be refused is refused before anything is written.
    from data_pipeline.curation.incoming import recognised  # noqa: PLC0415  brings pydantic

    inputs = [recognised(path) for path in options.inputs]
    for path in options.images:
        if not path.is_dir():
            raise StageError(f"--images: {path} is no folder")
    _check_folder(options.folder, inputs)
    if options.import_only:
        if not inputs:
            raise StageError("--import-only: name what to bring in: gtx-data curate DIR INPUT --import-only")
        with closing(_opened(options.folder)) as database:
            _bring_in(database, options, inputs)
        return 0
    return _serve(options, inputs)


def _serve(options: argparse.Namespace, inputs: list[Input]) -> int:
    from data_pipeline.curation.app import create_app  # noqa: PLC0415  brings Flask
    from data_pipeline.curation.page import Page  # noqa: PLC0415
    from data_pipeline.curation.pictures import PictureFolder  # noqa: PLC0415
    from data_pipeline.curation.server import Server, ended_by_signals, listen, open_soon, warm_up  # noqa: PLC0415

    page = Page()
    access = _access(options)
    with ExitStack() as opened:
        listening = opened.enter_context(listen(options.host, options.port))
        database = opened.enter_context(closing(_opened(options.folder)))
        if inputs:
            _bring_in(database, options, inputs)
        _refuse_nothing(database, options.folder)
        pictures = PictureFolder(options.folder)
        app = create_app(options.folder, database, pictures, access=access, page=page, lease_s=options.lease_s)
        server = opened.enter_context(closing(Server(app, listening)))
        with ended_by_signals():
            print(f"{_counts(database)}\n{server.url}   (Ctrl-C ends it; everything is saved)", flush=True)
            if options.open if options.open is not None else sys.stdout.isatty():
                open_soon(server.url)
            warm_up()
            server.run()
    return 0


def _access(options: argparse.Namespace) -> Access:
    from data_pipeline.curation.app import Access  # noqa: PLC0415
    from data_pipeline.curation.server import is_loopback  # noqa: PLC0415
    from data_pipeline.curation.sign_in import MIN_PASSWORD_CHARACTERS  # noqa: PLC0415

    password = _password(options)
    if password is not None and len(password) < MIN_PASSWORD_CHARACTERS:
        raise StageError(f"the password must have at least {MIN_PASSWORD_CHARACTERS} characters")
    if password is None and (options.behind_proxy or not is_loopback(options.host)):
        why = "--behind-proxy" if options.behind_proxy else f"--host {options.host}"
        raise StageError(
            f"{why} lets other machines in, which takes a password: put one into an environment variable and name it "
            "(--password-from NAME), or into a file (--password-file FILE)"
        )
    return Access(options.host, tuple(options.allow_host), password, options.behind_proxy)


def _password(options: argparse.Namespace) -> str | None:
    if options.password_from is not None:
        said = os.environ.get(options.password_from)
        if not said:
            raise StageError(f"--password-from: the environment variable {options.password_from} is not set, or empty")
        return said
    if options.password_file is not None:
        path: Path = options.password_file
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise StageError(f"--password-file: {path} cannot be read ({error})") from error
    return None


def _check_folder(folder: Path, inputs: list[Input]) -> None:
    if folder.exists() and not folder.is_dir():
        raise StageError(f"{folder} is a file: name a folder")
    if (folder / FILE_NAME).exists():
        return
    if not inputs:
        raise _nothing(folder)
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.exists() else []
    if others and others not in (["secret"], ["images"], ["images", "secret"]):
        raise ForeignFolderError(
            f"{folder} holds what `curate` did not write ({', '.join(others[:3])}): name a new or an empty folder"
        )


def _nothing(folder: Path) -> StageError:
    return StageError(
        f"{folder} holds no texts yet: bring some in, as in `gtx-data curate {folder} runs/data/ocr` "
        "(gtx-data curate --help tells what else)"
    )


def _opened(folder: Path) -> Database:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Database(folder / FILE_NAME)


def _refuse_nothing(database: Database, folder: Path) -> None:
    with database.reading() as connection:
        if connection.execute("SELECT 1 FROM rows LIMIT 1").fetchone() is None:
            raise _nothing(folder)


def _bring_in(database: Database, options: argparse.Namespace, inputs: list[Input]) -> None:
    from data_pipeline.curation.importing import Import  # noqa: PLC0415

    try:
        summary = Import(database, options.folder, images_from=options.images).run(inputs)
    except CurationError as error:
        raise StageError(error.message) from error
    print(summary.table(), flush=True)
    if summary.counted.get("image_outside"):
        print("Pictures outside of the inputs were left out: name their folder with --images FOLDER.", flush=True)


def _counts(database: Database) -> str:
    with database.reading() as connection:
        counts = dict(connection.execute("SELECT queue, count(*) FROM rows GROUP BY queue").fetchall())
    return f"{sum(counts.values()):,} texts, {counts.get('todo', 0):,} to do"


def _port(said: str) -> int:
    port = int(said)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _seconds(said: str) -> float:
    seconds = float(said)
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("expected seconds from 0.1 to 86400")
    return seconds
