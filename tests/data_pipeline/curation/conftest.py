from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.data_pipeline.curation.desk import Desk, bring_in, desk, row_of, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A curation folder with twenty texts, numbers 1 to 20, whose ids are the same."""
    bring_in(tmp_path / "curation", write_rows(tmp_path / "in" / "kept.jsonl", [row_of(n) for n in range(1, 21)]))
    return tmp_path / "curation"


@pytest.fixture
def here(texts: Path) -> Iterator[Desk]:
    with desk(texts) as served:
        yield served
