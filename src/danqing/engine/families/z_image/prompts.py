"""A prompt as Z-Image's transformer reads it: through the chat template, cut, encoded, remembered."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from danqing.core.sentences import says
from danqing.core.types import GenerationRequest
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.loaded_model import Prompts
from danqing.engine.families.z_image.capabilities import MAX_PROMPT_TOKENS
from danqing.engine.prompt_cache import PromptKey


class PromptEncoder:
    """Encodes the prompts of one model's requests, through the cache that the engine's models share."""

    def __init__(self, pipeline: Any, model: str, options: AdapterOptions) -> None:  # noqa: ANN401  a ZImagePipeline
        self._pipeline = pipeline
        self._model = model
        self._options = options

    def encode(self, requests: Sequence[GenerationRequest]) -> Prompts:
        """Both prompts of every request, cut to its max_sequence_length, which is said."""
        positive: list[Tensor] = []  # of each request (tokens, width)
        negative: list[Tensor] = []
        adjustments: list[tuple[str, ...]] = []
        for request in requests:
            limit = MAX_PROMPT_TOKENS if request.max_sequence_length is None else request.max_sequence_length
            said: list[str] = []
            texts = {"prompt": (request.prompt, positive)}
            if request.guidance_scale:
                texts["negative_prompt"] = (request.negative_prompt, negative)
            for name, (text, encoded) in texts.items():
                embedding, cut = self._embedding(text, limit)
                encoded.append(embedding)
                if cut:
                    said.append(says("cut", parameter=name, tokens=limit))
            adjustments.append(tuple(said))
        return Prompts(
            arguments={"prompt_embeds": positive, "negative_prompt_embeds": negative or None},
            adjustments=tuple(adjustments),
            need_mask=len({len(embedding) for embedding in (*positive, *negative)}) > 1,
        )

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
        (embedding,) = self._options.prompts.get(key, lambda: (self._states(parts[0]),))
        return embedding, len(parts) > 1

    def _states(self, tokens: list[int]) -> Tensor:
        ids = torch.tensor([tokens], device=self._options.device.torch_device)  # (1, tokens)
        states = self._pipeline.text_encoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        embedding: Tensor = states[-2][0]
        return embedding  # (tokens, width)
