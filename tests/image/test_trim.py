"""What is taken out of the image's environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from image.trim import UNUSED, NothingThereError, main, trim

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """One with a file of 10 bytes for each pattern, and one that stays beside it."""
    for pattern in UNUSED:
        path = tmp_path / pattern.replace("/**/", "/inner/").replace("*", "1.2.3")
        path.parent.mkdir(parents=True, exist_ok=True)
        if pattern.endswith("*"):
            path.write_text("0123456789")
        else:
            path.mkdir()
            (path / "file").write_text("0123456789")
        (path.parent / "stays").touch()
    return tmp_path


def test_what_is_listed_goes_and_all_else_stays(site_packages: Path) -> None:
    assert trim(site_packages) == 10 * len(UNUSED)
    assert {path.name for path in site_packages.rglob("*") if path.is_file()} == {"stays"}


def test_where_a_package_has_changed_nothing_goes(site_packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (gone,) = site_packages.glob("onnxruntime/capi/libonnxruntime.so*")
    gone.unlink()
    before = sorted(site_packages.rglob("*"))
    with pytest.raises(NothingThereError, match="libonnxruntime"):
        trim(site_packages)
    assert main(site_packages) == 1
    assert "onnxruntime/capi/libonnxruntime.so*" in capsys.readouterr().err
    assert sorted(site_packages.rglob("*")) == before
