"""What people are told in words, each sentence with a code: how a request was honoured, or why it was not.

A job keeps its sentences as text, as clients read them; `meant_by` finds code and values in one again, so that a page
can say it in another language. A sentence that is in no list is told as it is.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Of a job that has its picture: its adjustments. They are part of picture files, so none may change.
NOTES = {
    "made_cut_enlarged": "made at {native}, cut to {kept} and enlarged by Real-ESRGAN to {final}",
    "made_cut_scaled": "made at {native}, cut to {kept} and scaled to {final}",
    "made_enlarged": "made at {native} and enlarged by Real-ESRGAN to {final}",
    "made_scaled": "made at {native} and scaled to {final}",
    "made_cut": "made at {native} and cut to {kept}",
    "negative_not_used": "negative_prompt not used, because guidance_scale is 0",
    "negative_not_used_below": "negative_prompt not used, because guidance_scale is not above 1",
    "filled": "edited by filling the mask, because the model does not understand instructions",
    "redrawn_side_by_side": (
        "edited by prompt-guided img2img, the input images laid side by side, "
        "because the model does not understand instructions"
    ),
    "redrawn": "edited by prompt-guided img2img, because the model does not understand instructions",
    "side_by_side": "the input images laid side by side",
    "only_first_input": "only the first of {count} input images used, because its mask is filled",
    "cut_for_clip": "prompt cut to {tokens} tokens for CLIP, which sums it up",
    "cut": "{parameter} cut to {tokens} tokens",
    "decoded_in_tiles": "decoded in tiles for lack of memory",
    "encoded_in_tiles": "input images encoded in tiles for lack of memory",
    "runs_cut_short": "step cache: {shortened} of {runs} runs of the transformer cut short",
    "no_step_cache": "step cache not used, because the model's layers are brought to the device one after another",
    "lora_in_part": "LoRA {name} used without its part for the text encoder",
    "enlarged_otherwise": "enlarged {scale} times by {name}, then brought to {factor} times the size by Lanczos",
}
# Of a request that is not taken.
REFUSALS = {
    "needs_words": "prompt is required and must not be empty.",
    "needs_picture": "{parameter} is required for mode {mode}.",
    "takes_no_picture": "Mode {mode} takes no input image; ask for {other}, or another mode.",
    "most_pictures": "At most {most} input images for mode {mode}.",
    "means_nothing": "{parameter} has no meaning for mode {mode}.",
    "between": "{parameter} must be between {least} and {most}.",
    "at_most": "{parameter} must be at most {most}.",
    "most_chars": "{parameter} must have at most {most} characters.",
    "not_unicode": "{parameter} is not valid Unicode text.",
    "has_nul": "{parameter} must have no NUL character.",
    "most_loras": "At most {most} loras for one picture.",
    "no_such_lora": "Not supported: LoRA {name} by model {model}; there is: {known}.",
    "lora_twice": "loras has {name} more than once.",
    "lora_scale": "loras: scale must be between -{most} and {most}.",
    "no_such_model": "This server has no model {model}.",
    "unable": "Not supported: {what} by model {model}.",
    "no_guidance": "Not supported: guidance_scale other than 0 by model {model}.",
    "unable_in_mode": "Not supported: {parameter} for mode {mode}.",
    "no_strength": "Not supported: strength for edits by model {model}, which follows the prompt.",
    "mask_of_other_size": ("The mask is {mask} pixels, its image {image}; they must have the same size."),
    "most_in_request": "At most {most} pictures in one request.",
    "no_upscaler": "Not supported: no worker of this server can enlarge pictures.",
    "side_when_upscaled": "{parameter} must be {factor} times the picture's, {becomes}.",
    "too_large_to_upscale": "The picture is {size} pixels; at most {most} a side can be enlarged.",
    "picture_empty": "{parameter} is an empty file.",
    "picture_too_many_bytes": "{parameter} is larger than {most} MiB, which is what is taken.",
    "picture_too_large": "{parameter} is too large: at most {most} pixels a side, and {megapixels} megapixels in all.",
    "picture_scans": "{parameter} has more than {most} scans; save it as an ordinary JPEG.",
    "picture_too_costly": "{parameter} takes too much memory to decode; send a smaller image.",
    "picture_too_slow": "{parameter} takes too long to decode; send a smaller image.",
    "picture_damaged": "{parameter} is damaged or incomplete.",
    "picture_of_no_kind": "{parameter} is not a PNG, JPEG or WebP image.",
    "pictures_too_large": "All images of the request together have more than {most} megapixels.",
    "key_name": "name must have 1 to {most} printable characters.",
    "day_is_full": "At most {most} pictures in 24 hours.",
    "room_is_full": "Your pictures take all the room that you may have: {most} GB.",
}
# Of a job that has failed.
FAILURES = {
    "fits_smaller": "{size} does not fit on this device with model {model}; the largest that fits is {largest}.",
    "fits_never": "{size} does not fit on this device with model {model}; no size fits.",
    "lora_gone": "LoRA {name} is not there any more.",
    "no_lora_any_more": "There is no LoRA {name} for model {model} any more.",
    "lora_damaged": "LoRA {name}: its file is damaged, or made for a model other than {model}.",
    "lora_does_not_fit": "LoRA {name} does not fit model {model}: it was made for another one.",
    "not_a_number": "The model's result is not a picture (not a number).",
    "input_damaged": "A stored input image is damaged.",
    "model_gone": "The model {model} is not served any more.",
}
SENTENCES: Mapping[str, str] = MappingProxyType(NOTES | REFUSALS | FAILURES)
_FIELD = re.compile(r"\\\{(\w+)\\\}")
# What values of these names look like; others may be anything, of no more characters than names have: where each may be
# as long as the text, a text that people made up could keep a pattern of several busy for seconds.
_WORDS = {"parameter": r"[\w-]+", "what": r"\w+", "known": r".+?"}
_ANYTHING = r".{1,300}?"
MOST_CHARS = 2000  # of a text that is looked at; a longer one is told as it is
_TRIED = re.compile(r" It was tried \d+ times: .*$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """values: by their names in the sentence of that code."""

    code: str
    values: Mapping[str, str]


def says(code: str, **values: object) -> str:
    """The sentence of that code with these values."""
    return SENTENCES[code].format(**values)


def meant_by(text: str) -> Sentence | None:
    """Which sentence it is; None for one that is in no list. How often a job was tried may stand behind it."""
    return _meant_by(text) if len(text) <= MOST_CHARS else None


@functools.lru_cache(maxsize=512)
def _meant_by(text: str) -> Sentence | None:
    said = _TRIED.sub("", text)
    for code, pattern in _patterns().items():
        if (found := pattern.fullmatch(said)) is not None:
            return Sentence(code=code, values=MappingProxyType(found.groupdict()))
    return None


@functools.cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    """By code, a sentence that says more before one that could be taken for its beginning."""
    return {code: re.compile(_pattern(template), re.DOTALL) for code, template in SENTENCES.items()}


def _pattern(template: str) -> str:
    named: set[str] = set()

    def group(field: re.Match[str]) -> str:
        name = field[1]
        if name in named:
            return f"(?P={name})"
        named.add(name)
        return f"(?P<{name}>{_WORDS.get(name, _ANYTHING)})"

    return _FIELD.sub(group, re.escape(template))
