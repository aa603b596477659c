"""A prompt as Z-Image's transformer reads it: through the chat template, cut, encoded, remembered."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from danqing.core.sentences import says
from danqing.core.types import GenerationRequest
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.loaded_model import Prompts
from danqing.engine.families.z_image.capabilities import MAX_PROMPT_TOKENS
from danqing.engine.launched import sent
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

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Of the text encoder, those whose work is used."""
        return self._all_layers[:-1]

    @property
    def _all_layers(self) -> Any:  # noqa: ANN401
        return self._pipeline.text_encoder.get_decoder().layers

    def _states(self, tokens: list[int]) -> Tensor:
        """What the last layer is given. Not asked for as hidden states, which no compiler sees through."""
        ids = sent(torch.tensor([tokens]), self._options.device.torch_device)  # (1, tokens)
        given: list[Tensor] = []

        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given.append(inputs[0])

        hook = self._all_layers[-1].register_forward_pre_hook(note)
        try:
            self._pipeline.text_encoder(input_ids=ids, attention_mask=self._no_masks(), use_cache=False)
        finally:
            hook.remove()
        return given[0][0].to(ids.device)  # (tokens, width)

    def _no_masks(self) -> dict[str, None] | None:
        """Of each kind of layer, told by itself: left to find out, transformers asks the device whether several texts
        were packed into the one, and waits for all that it is at. None where a mask does more than look back.
        """
        config = self._pipeline.text_encoder.config
        if config._attn_implementation == "sdpa" and set(getattr(config, "layer_types", ())) == {"full_attention"}:
            return {"full_attention": None}
        return None
