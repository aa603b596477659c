"""Trains the edit model's Qwen2 tokenizer over its own instructions, and writes it with the Qwen2-VL processor.

The edit pipeline leaves out the first 64 tokens of its fixed prompt, which is how many Qwen's own tokenizer makes of
the system message; here every word of that message becomes one token too, so that the same 64 go.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

from edit_networks import CONDITION_SIDE, PREFIX, PREFIX_TOKENS, SUFFIX, picture_prompt
from edit_scenes import draw_edit, instruction
from make_tokenizer import CHINESE_WORDS
from scenes import article, sprites
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer, Qwen2VLImageProcessorPil
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 3072
INSTRUCTIONS = 40_000
EDIT_WORDS = (
    "背景|改成|换成|变成|改为|替换为|替换|去掉|删除|删掉|移除|添加|加上|移动到|移到|放到|放一个|加一个|画一个|"
    "[把将用它到在成]"
)


def corpus(seed: int) -> Iterator[str]:
    """The fixed words often enough to be whole, every name, then random instructions of both languages."""
    for _ in range(INSTRUCTIONS // 4):
        yield PREFIX + picture_prompt() + SUFFIX
    for sprite in sprites():
        for name in sprite["en"]:
            yield from (f" {name}", f" {article(name)}", f" the {name}") * 4
        for name in sprite["zh"]:
            yield from (name,) * 12
    rng = random.Random(seed)
    for index in range(INSTRUCTIONS):
        yield instruction(rng, draw_edit(rng), "en" if index % 2 else "zh")


def train(seed: int) -> Qwen2Tokenizer:
    """Byte-level BPE. Chinese is cut into words while learning, so that no token goes over a word's end."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(map(_escaped, SPECIAL))), "removed"),
            pre_tokenizers.Split(Regex(f"{EDIT_WORDS}|{CHINESE_WORDS}"), "isolated"),
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed), trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        eos_token="<|im_end|>",
        extra_special_tokens=[s for s in SPECIAL if s not in ("<|endoftext|>", "<|im_end|>")],
        model_max_length=1024,
    )


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def main() -> None:
    """Writes `--out/tokenizer` and `--out/processor`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    tokenizer = train(31)
    tokenizer.save_pretrained(out / "tokenizer")
    pixels = {"shortest_edge": CONDITION_SIDE**2, "longest_edge": CONDITION_SIDE**2}
    # The files of a Qwen2VLProcessor, without making one: that needs torchvision, for videos.
    tokenizer.save_pretrained(out / "processor")
    Qwen2VLImageProcessorPil(size=pixels).save_pretrained(out / "processor")
    about = json.loads((out / "processor" / "preprocessor_config.json").read_text())
    about |= {"processor_class": "Qwen2VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"}
    (out / "processor" / "preprocessor_config.json").write_text(json.dumps(about, indent=2) + "\n")
    about = {"video_processor_type": "Qwen2VLVideoProcessor", "size": pixels}
    (out / "processor" / "video_preprocessor_config.json").write_text(json.dumps(about, indent=2) + "\n")
    again = Qwen2Tokenizer.from_pretrained(out / "tokenizer")
    count = len(again(PREFIX).input_ids)
    print(f"{len(again)} tokens; the prefix has {count}")
    if count != PREFIX_TOKENS:
        print([again.decode([i]) for i in again(PREFIX).input_ids])
        raise SystemExit("the pipeline would leave out something else")
    for text in ("make the background blue", "Replace the cat with a dog.", "把猫换成狗", "在左边加一个苹果"):
        ids = again(picture_prompt() + text + SUFFIX).input_ids
        print(len(ids), [again.decode([i]) for i in ids])


if __name__ == "__main__":
    main()
