"""What the stage `ocr` can be told."""

from __future__ import annotations

from pydantic import Field

from data_pipeline.settings import Settings


class OcrSettings(Settings):
    """What the stage `ocr` can be told."""

    min_lines: int = Field(3, ge=1, description="fewest lines of a story that is worth keeping")
    min_confidence: float = Field(
        0.75, ge=0, le=1, description="Tesseract's mean confidence below which a page is dropped as unreadable"
    )
    min_line_confidence: float = Field(
        0.4, ge=0, le=1, description="confidence of the worst line below which a page is dropped as unreadable"
    )
    max_pixels: int = Field(
        25_000_000, ge=1, le=80_000_000, description="most pixels (width times height), checked before decoding"
    )
    max_side: int = Field(32_768, ge=1, description="longest side in pixels, checked before decoding")

    # A result does not depend on these, but for pages that take longer than the limit.
    workers: int | None = Field(None, ge=1, description="pages read at a time; none for as many as there are cores")
    page_timeout_s: float = Field(
        60.0, gt=0, description="seconds after which a page is given up, and its reader killed"
    )
