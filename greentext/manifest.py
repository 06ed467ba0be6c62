"""The manifest of a model bundle: what a model is, and what its files must be.

The schema promises that what it lets through is bounded: no count, size or name in a manifest is so large or so odd
that a reader must check it again. It does no I/O, and knows nothing of the files; `greentext.bundle` does.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

FileName = Literal["model.onnx", "tokenizer.json", "README.md"]
FILE_NAMES: Final[tuple[FileName, ...]] = ("model.onnx", "tokenizer.json", "README.md")
"""The files that a manifest describes: all of them, and no others."""

MAX_FILE_BYTES: Final = 2 * 1024**3
MAX_CONTEXT_TOKENS: Final = 2**17
MAX_VOCABULARY_TOKENS: Final = 2**20

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TokenId = Annotated[int, Field(ge=0, lt=MAX_VOCABULARY_TOKENS)]
# Not a Literal: JSON's `true` equals 1 there.
VersionOne = Annotated[int, Field(ge=1, le=1)]
# A part of URLs, file names and metric labels.
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ControlToken(_Part):
    """One control token: the id that the model knows, and how `tokenizer.json` spells it."""

    id: TokenId
    text: str = Field(min_length=1, max_length=64)


class ControlTokens(_Part):
    """The token before each text, and the one after it."""

    start: ControlToken
    end: ControlToken

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.start.id == self.end.id or self.start.text == self.end.text:
            raise ValueError("the start and the end token must differ, in id and in text")
        return self


class DefaultSampling(_Part):
    """How the model samples where a request does not say."""

    temperature: float = Field(ge=0, le=10, description="0 is greedy")
    opening_temperature: float | None = Field(
        None, gt=0, le=10, description="of the first line; null is temperature there, too"
    )
    top_k: int = Field(ge=0, le=MAX_VOCABULARY_TOKENS, description="0 is off")
    top_p: float = Field(gt=0, le=1, description="1 is off")
    min_p: float = Field(ge=0, le=1, description="0 is off")
    repetition_penalty: float = Field(gt=0, le=10, description="1 is off")
    max_new_tokens: int = Field(ge=1, le=MAX_CONTEXT_TOKENS)


class Dataset(_Part):
    """What the model was tuned on last."""

    name: str = Field(min_length=1, max_length=128)
    sha256: Sha256
    documents: int = Field(ge=1, le=2**40)


class FileRecord(_Part):
    """What a file of the bundle must be."""

    sha256: Sha256
    size_bytes: int = Field(ge=1, le=MAX_FILE_BYTES)


class ModelDescription(_Part):
    """What whoever trained a model says of it: a manifest but for the files."""

    schema_version: VersionOne = 1
    name: Slug
    description: str = Field(min_length=1, max_length=2000)
    base_model: str = Field(min_length=1, max_length=128)
    architecture: Literal["gpt_neo", "gpt2", "llama"]
    precision: Literal["fp32", "int8", "int4"]
    graph_version: VersionOne = 1
    context_length: int = Field(ge=1, le=MAX_CONTEXT_TOKENS, description="in tokens, prompt and answer together")
    vocab_size: int = Field(ge=2, le=MAX_VOCABULARY_TOKENS)
    num_layers: int = Field(ge=1, le=256)
    num_heads: int = Field(ge=1, le=256)
    num_kv_heads: int = Field(ge=1, le=256)
    head_dim: int = Field(ge=1, le=1024)
    control_tokens: ControlTokens
    default_sampling: DefaultSampling
    evaluation: dict[Annotated[str, Field(min_length=1, max_length=64)], FiniteFloat] = Field(max_length=256)
    dataset: Dataset
    license: str = Field(min_length=1, max_length=128, description="an SPDX expression")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for token in (self.control_tokens.start, self.control_tokens.end):
            if token.id >= self.vocab_size:
                raise ValueError(f"the id of {token.text!r}, {token.id}, is outside the vocabulary")
        if self.num_heads % self.num_kv_heads:
            raise ValueError("num_heads must be a multiple of num_kv_heads")
        if self.default_sampling.top_k > self.vocab_size:
            raise ValueError("default_sampling.top_k is larger than the vocabulary")
        # At least the start token stands before what is written.
        if self.default_sampling.max_new_tokens >= self.context_length:
            raise ValueError("default_sampling.max_new_tokens does not fit into context_length")
        return self


class ModelManifest(ModelDescription):
    """A bundle's `manifest.json`."""

    files: dict[FileName, FileRecord]

    @model_validator(mode="after")
    def _describes_each_file(self) -> Self:
        missing = [name for name in FILE_NAMES if name not in self.files]
        if missing:
            raise ValueError(f"files says nothing of {', '.join(missing)}")
        return self
