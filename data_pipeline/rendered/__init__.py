"""Pages like those of an image board, drawn with their truth: what OCR is measured and tested with.

`render` draws one page from a `PageSpec`; `page_specs` deals specs so that every theme, layout, size and JPEG quality
comes up; `python -m data_pipeline.rendered FOLDER` writes a set. The same seed, fonts and Pillow give the same pixels.

What it is not: a browser. Texts are set as a browser would set them, in the fonts of the system, but nobody hints and
smooths glyphs exactly like another; figures measured here are figures for these pages.
"""

from data_pipeline.rendered.canvas import Smoothing
from data_pipeline.rendered.fonts import FontsMissingError
from data_pipeline.rendered.page import Layout, PageSpec, Rendered, render
from data_pipeline.rendered.testset import page_specs, read_stories, read_truths, write_testset
from data_pipeline.rendered.themes import THEMES, Theme

__all__ = [
    "THEMES",
    "FontsMissingError",
    "Layout",
    "PageSpec",
    "Rendered",
    "Smoothing",
    "Theme",
    "page_specs",
    "read_stories",
    "read_truths",
    "render",
    "write_testset",
]
