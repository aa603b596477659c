"""A prompt as FLUX's transformer reads it: T5's states of every token, and CLIP's one summary; remembered."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from danqing.core.sentences import says
from danqing.core.types import GenerationRequest
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.loaded_model import Prompts
from danqing.engine.launched import sent
from danqing.engine.prompt_cache import PromptKey


class PromptEncoder:
    """Encodes the prompts of one model's requests, through the cache that the engine's models share."""

    def __init__(self, pipeline: Any, model: str, options: AdapterOptions, *, max_tokens: int) -> None:  # noqa: ANN401
        """pipeline: a FluxPipeline. max_tokens: that T5 reads where a request does not say it."""
        self._pipeline = pipeline
        self._model = model
        self._options = options
        self._max_tokens = max_tokens

    def encode(self, requests: Sequence[GenerationRequest]) -> Prompts:
        """The prompt of every request, cut to its max_sequence_length for T5 and to its own limit for CLIP.

        Cuts are said. All are padded to the same length, which the transformer was trained to read as it is: so they
        need no mask.
        """
        states: list[Tensor] = []  # of each request (1, tokens, width)
        pooled: list[Tensor] = []  # of each request (1, width)
        adjustments: list[tuple[str, ...]] = []
        for request in requests:
            limit = self._max_tokens if request.max_sequence_length is None else request.max_sequence_length
            of_t5, t5_cut = self._tokens(self._pipeline.tokenizer_2, request.prompt, limit)
            clip_limit: int = self._pipeline.tokenizer_max_length
            of_clip, clip_cut = self._tokens(self._pipeline.tokenizer, request.prompt, clip_limit)
            key = PromptKey(model=self._model, text=request.prompt, max_sequence_length=limit)
            both = self._options.prompts.get(key, lambda t5=of_t5, clip=of_clip: self._encoded(t5, clip))
            states.append(both[0])
            pooled.append(both[1])
            cuts = (
                says("cut", parameter="prompt", tokens=limit) if t5_cut else None,
                says("cut_for_clip", tokens=clip_limit) if clip_cut else None,
            )
            adjustments.append(tuple(cut for cut in cuts if cut))
        return Prompts(
            arguments={"prompt_embeds": torch.cat(states), "pooled_prompt_embeds": torch.cat(pooled)},
            adjustments=tuple(adjustments),
            need_mask=False,
        )

    def _tokens(self, tokenizer: Any, text: str, limit: int) -> tuple[list[int], bool]:  # noqa: ANN401
        """Padded or cut to the limit, and whether they were cut."""
        parts: list[list[int]] = tokenizer(
            [text], padding="max_length", truncation=True, max_length=limit, return_overflowing_tokens=True
        ).input_ids
        return parts[0], len(parts) > 1

    def _encoded(self, of_t5: list[int], of_clip: list[int]) -> tuple[Tensor, Tensor]:
        """(1, tokens, width) and (1, width)."""
        device = self._options.device.torch_device
        t5, clip = (sent(torch.tensor([ids]), device) for ids in (of_t5, of_clip))
        states: Tensor = self._pipeline.text_encoder_2(t5)[0]
        summary: Tensor = self._pipeline.text_encoder(clip).pooler_output
        return states, summary
