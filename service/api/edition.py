"""Which edition of a model wrote a text: a name may come to mean another file, the beginning of its hash does not."""

from typing import Final

from greentext.manifest import ModelManifest

EDITION_CHARACTERS: Final = 12


def edition_of(manifest: ModelManifest) -> str:
    """The edition of the model that a bundle brings."""
    return edition(manifest.files["model.onnx"].sha256)


def edition(bundle_sha256: str) -> str:
    """The edition, by the hash that the store keeps of the model's file."""
    return bundle_sha256[:EDITION_CHARACTERS]
