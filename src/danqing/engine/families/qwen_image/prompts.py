"""A prompt, and the pictures that it speaks of, as Qwen-Image's transformer reads them: encoded, cut, remembered.

The words around a prompt, and how many of their tokens the transformer is not shown, are the pipeline's own. What it
leaves out is told to the text encoder: which tokens are a picture's (`mm_token_type_ids`), without which transformers 5
takes them for words in a row (diffusers#14194).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from PIL import Image
from torch import Tensor

from danqing.core.sentences import says
from danqing.engine.families.adapter import AdapterOptions, Order
from danqing.engine.families.loaded_model import Prompts
from danqing.engine.families.qwen_image.capabilities import MAX_PROMPT_TOKENS
from danqing.engine.families.qwen_image.references import References
from danqing.engine.launched import sent
from danqing.engine.prompt_cache import PromptKey

NO_GUIDANCE = 1.0  # true_cfg_scale up to which the negative prompt is not looked at
NOTHING = " "  # the negative prompt that Qwen recommends where none is given
IMAGE_TOKEN = "<|image_pad|>"
NUMBERED = "Picture {}: <|vision_start|><|image_pad|><|vision_end|>"


class PromptEncoder:
    """Encodes the prompts of one model's orders, through the cache that the engine's models share."""

    def __init__(
        self,
        pipeline: Any,  # noqa: ANN401  one of the three pipelines
        image_processor: Any,  # noqa: ANN401  a Qwen2VLImageProcessorPil, or None where no picture is spoken of
        references: References | None,
        model: str,
        options: AdapterOptions,
    ) -> None:
        self._pipeline = pipeline
        self._image_processor = image_processor
        self._references = references
        self._model = model
        self._options = options

    def encode(self, orders: Sequence[Order]) -> Prompts:
        """Both prompts of every order, cut to its max_sequence_length, which is said."""
        positive: list[Tensor] = []  # of each order (tokens, width)
        negative: list[Tensor] = []
        adjustments: list[tuple[str, ...]] = []
        for order in orders:
            request = order.request
            limit = MAX_PROMPT_TOKENS if request.max_sequence_length is None else request.max_sequence_length
            pictures = self._references.for_prompt(order) if self._references else []
            digests = tuple(_digest(picture) for picture in pictures)
            said: list[str] = []
            texts = {"prompt": (request.prompt, positive)}
            if request.guidance_scale > NO_GUIDANCE:
                texts["negative_prompt"] = (request.negative_prompt or NOTHING, negative)
            elif request.negative_prompt and request.guidance_scale:
                said.append(says("negative_not_used_below"))
            for name, (text, encodings) in texts.items():
                encoding, cut = self._encoding(text, limit, pictures, digests)
                encodings.append(encoding)
                if cut:
                    said.append(says("cut", parameter=name, tokens=limit))
            adjustments.append(tuple(said))
        return Prompts(
            arguments={
                **_padded("prompt_embeds", positive),
                **(_padded("negative_prompt_embeds", negative) if negative else {}),
            },
            adjustments=tuple(adjustments),
            need_mask=any(len({len(each) for each in encodings}) > 1 for encodings in (positive, negative)),
        )

    def _encoding(
        self, text: str, limit: int, pictures: Sequence[Image.Image], digests: tuple[str, ...]
    ) -> tuple[Tensor, bool]:
        """The text as the transformer reads it, (tokens, width), the pictures' tokens first; and whether it was cut.

        The closing words of the chat belong to the text, as in the pipelines, and are cut with it.
        """
        before, after = self._pipeline.prompt_template_encode.split("{}")
        if pictures:
            # What a client writes is never taken for the place of a picture.
            words = self._tokens(text, split_special_tokens=True) + self._tokens(after)
            skipped = 0
        else:
            words = self._tokens(before + text + after)
            skipped = self._pipeline.prompt_template_encode_start_idx
        key = PromptKey(model=self._model, text=text, max_sequence_length=limit, pictures=digests)
        (encoding,) = self._options.prompts.get(
            key, lambda: (self._states(before, words[: skipped + limit], pictures),)
        )
        return encoding, len(words) > skipped + limit

    def _states(self, before: str, words: list[int], pictures: Sequence[Image.Image]) -> Tensor:
        """words: tokens; with pictures, what follows them."""
        inputs: dict[str, Tensor] = {}
        if pictures:
            inputs = dict(self._image_processor(images=list(pictures), return_tensors="pt"))
            words = self._tokens(self._with_places(before, inputs["image_grid_thw"])) + words
        ids = torch.tensor([words])  # (1, tokens)
        if pictures:
            image_token: int = self._pipeline.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
            inputs["mm_token_type_ids"] = (ids == image_token).int()
        inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        device = self._options.device.torch_device
        states = self._pipeline.text_encoder(
            **{name: sent(tensor, device) for name, tensor in inputs.items()},
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,  # nothing reads them
        ).hidden_states
        encoding: Tensor = states[-1][0, self._pipeline.prompt_template_encode_start_idx :]
        return encoding.clone()  # (tokens, width), without the rest of what it is a part of

    def _with_places(self, before: str, grids: Tensor) -> str:
        """The words before the text, with as many tokens for each picture as its encoding has.

        grids: (pictures, 3), patches in time, height and width.
        """
        if isinstance(self._pipeline, QwenImageEditPlusPipeline):
            before += "".join(NUMBERED.format(number + 1) for number in range(len(grids)))
        counts: list[int] = (grids.prod(-1) // self._image_processor.merge_size**2).tolist()
        first, *rest = before.split(IMAGE_TOKEN)
        return first + "".join(IMAGE_TOKEN * count + part for count, part in zip(counts, rest, strict=True))

    def _tokens(self, text: str, *, split_special_tokens: bool = False) -> list[int]:
        ids: list[int] = self._pipeline.tokenizer(text, split_special_tokens=split_special_tokens).input_ids
        return ids


def _padded(name: str, encodings: Sequence[Tensor]) -> dict[str, Tensor]:
    """As our pipelines take them: (N, tokens, width), zeros on the right; the mask (N, tokens) is 1 where text is, and
    the host's, so that whether it is needed is known without waiting for the device.
    """
    embeds = torch.nn.utils.rnn.pad_sequence(list(encodings), batch_first=True)
    lengths = torch.tensor([len(encoding) for encoding in encodings])
    mask = (torch.arange(embeds.shape[1]) < lengths[:, None]).long()
    return {name: embeds, f"{name}_mask": mask}


def _digest(picture: Image.Image) -> str:
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
