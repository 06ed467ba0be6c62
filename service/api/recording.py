"""What was written, as the rows that the store keeps of it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from service.api.generation import Submission
from service.engine.sampling_params import SamplingParams
from service.store.records import GenerationRecord

if TYPE_CHECKING:
    from service.engine.llm_engine import Completion

SAMPLING_FIELDS: Final = tuple(
    field.name for field in fields(SamplingParams) if field.name not in ("n", "seed", "logprobs", "logit_bias")
)


def generation_records(
    submission: Submission,
    texts: "Sequence[Sequence[Completion]]",
    *,
    ids: Sequence[str],
    session_id: str | None,
    shared: bool,
) -> Iterator[GenerationRecord]:
    """A record of each text that a client gets, with an id of `ids` in that order; none of a text without a token.

    `texts` are those of each prompt; see `service.api.generation.Finished`.
    """
    created_s = time.time()
    manifest = submission.model.manifest
    sampling = _sampling(submission.params)
    left = iter(ids)
    for prompt, completions in zip(submission.prompts, texts, strict=True):
        for completion, generation_id in zip(completions, left, strict=False):
            if completion.completion_tokens == 0:
                continue
            yield GenerationRecord(
                id=generation_id,
                created_s=created_s,
                model=submission.model.name,
                bundle_sha256=manifest.files["model.onnx"].sha256,
                prompt=prompt.text,
                text=prompt.text + completion.text,
                seed=completion.seed,
                sampling=sampling,
                finish_reason=completion.finish_reason.value,
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                queue_s=completion.queue_s,
                prefill_s=completion.prefill_s,
                decode_s=completion.decode_s,
                total_s=completion.total_s,
                session_id=session_id,
                shared=shared,
            )


def _sampling(params: SamplingParams) -> dict[str, Any]:
    """The parameters that a text depends on, as JSON can spell them."""
    sampling: dict[str, Any] = {name: getattr(params, name) for name in SAMPLING_FIELDS}
    sampling["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    return sampling
