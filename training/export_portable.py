"""The portable ONNX export with past keys and values, by optimum: for runtimes other than ours, and to check ours."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TASK = "text-generation-with-past"


class ExportError(RuntimeError):
    """optimum could not export a checkpoint; the message ends with what it said."""


def export_portable(checkpoint: Path, directory: Path) -> Path:
    """Exports a checkpoint into ``directory`` (replacing it), and returns the path of its ``model.onnx``.

    fp32, opset as optimum chooses, tokenizer and configuration beside it. Written aside first: ``directory`` holds a
    whole export or what it held before. Raises ExportError.
    """
    if not (checkpoint / "config.json").is_file():
        raise ExportError(f"{checkpoint} is no checkpoint: config.json is missing")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as temporary:
        export = Path(temporary) / "export"
        said = io.StringIO()
        try:
            with _quiet(said):
                # Imported here: it takes seconds, and nothing else needs it.
                from optimum.exporters.onnx import main_export  # noqa: PLC0415

                main_export(
                    str(checkpoint),
                    output=export,
                    task=TASK,
                    framework="pt",
                    library_name="transformers",
                    local_files_only=True,
                    trust_remote_code=False,
                    do_validation=False,  # ``parity`` compares more than optimum does
                )
        except Exception as error:  # torch and optimum raise types of their own for each kind of failure
            raise ExportError(f"{checkpoint} cannot be exported: {error}\n{said.getvalue()[-2000:]}") from error
        if not (export / "model.onnx").is_file():
            raise ExportError(f"{checkpoint}: optimum wrote no model.onnx\n{said.getvalue()[-2000:]}")
        shutil.rmtree(directory, ignore_errors=True)
        export.rename(directory)
    return directory / "model.onnx"


@contextlib.contextmanager
def _quiet(said: io.StringIO) -> Iterator[None]:
    """Keeps what the libraries print, log and warn of, for the message of an error."""
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    before, level = root.handlers[:], logging.root.manager.disable
    root.handlers = [handler]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers = before
        logging.disable(level)
