"""A prompt as Z-Image's transformer reads it: through the chat template, cut, encoded, remembered."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from danqing.core.types import GenerationRequest
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.z_image.capabilities import MAX_PROMPT_TOKENS
from danqing.engine.prompt_cache import PromptKey


@dataclass(frozen=True)
class Prompts:
    """positive, negative: (tokens, width) each; negative is None without guidance. adjustments: as in `RawPicture`."""

    positive: Tensor
    negative: Tensor | None
    adjustments: tuple[str, ...]

    @property
    def differ_in_length(self) -> bool:
        """True where both are used and one must be padded to be computed beside the other."""
        return self.negative is not None and len(self.negative) != len(self.positive)


class PromptEncoder:
    """Encodes the prompts of one model's requests, through the cache that the engine's models share."""

    def __init__(self, pipeline: Any, model: str, options: AdapterOptions) -> None:  # noqa: ANN401  a ZImagePipeline
        self._pipeline = pipeline
        self._model = model
        self._options = options

    def encode(self, request: GenerationRequest) -> Prompts:
        """Both prompts of the request, cut to its max_sequence_length, which is said."""
        limit = MAX_PROMPT_TOKENS if request.max_sequence_length is None else request.max_sequence_length
        positive, cut = self._embedding(request.prompt, limit)
        adjustments = [f"prompt cut to {limit} tokens"] if cut else []
        if not request.guidance_scale:
            return Prompts(positive, None, tuple(adjustments))
        negative, cut = self._embedding(request.negative_prompt, limit)
        if cut:
            adjustments.append(f"negative_prompt cut to {limit} tokens")
        return Prompts(positive, negative, tuple(adjustments))

    def _embedding(self, text: str, limit: int) -> tuple[Tensor, bool]:
        """The text as the transformer reads it, (tokens, width), and whether it was cut.

        Without padding: the text encoder is causal with relative positions, so padding on either side, which the
        pipeline itself adds and takes off again, changes nothing but the time.
        """
        chat: str = self._pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        parts: list[list[int]] = self._pipeline.tokenizer(
            chat, truncation=True, max_length=limit, return_overflowing_tokens=True
        ).input_ids
        key = PromptKey(model=self._model, text=text, max_sequence_length=limit)
        return self._options.prompts.get(key, lambda: self._states(parts[0])), len(parts) > 1

    def _states(self, tokens: list[int]) -> Tensor:
        ids = torch.tensor([tokens], device=self._options.device.torch_device)  # (1, tokens)
        states = self._pipeline.text_encoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        embedding: Tensor = states[-2][0]
        return embedding  # (tokens, width)
