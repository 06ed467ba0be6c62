"""The stage `ocr`: screenshots of image boards in, greentexts out.

    ink       where a page has ink, and what colour
    layout    which of it is lines, and which lines are story
    marker    which lines begin with `>`, by shape
    engine    Tesseract, line by line
    glyphs    a second look at single letters
    repair    what is still wrong, by the shapes of letters and a vocabulary
    page      all of that: a picture to a story
    workers   pages on all cores, each within its limits
    stage     the run

docs/ocr.md tells how it was measured, and what it gets wrong.
"""

from data_pipeline.ocr.settings import OcrSettings
from data_pipeline.ocr.stage import run

__all__ = ["OcrSettings", "run"]
