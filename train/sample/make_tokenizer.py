"""Trains the sample model's tokenizer: byte-level BPE over its own captions, so any text in any script has tokens."""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from scenes import caption, draw_scene, sprites
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = "{%- for message in messages -%}<|im_start|>{{ message['content'] }}{%- endfor -%}<|im_end|>"
VOCABULARY = 3072
CAPTIONS = 60_000
# Chinese has no spaces; these words stand alone so that what is left between them are names.
CHINESE_WORDS = "|".join(
    (
        "背景|[左右][上下]角|[左右]边|[上下][面方]|旁边|并排",
        "[很小大巨可爱漂亮美丽的]+的|一[个只份张幅]|图片|照片|插画",
        "[红橙橘黄绿蓝紫棕褐白黑灰]色|天蓝色|浅蓝色|粉红?色|[在是的和与有上画，]",
    )
)


def corpus(seed: int) -> Iterator[str]:
    """Every name, then random captions of both languages."""
    for sprite in sprites():
        for name in (*sprite["en"], *sprite["zh"]):
            yield from (f"a {name}", name)
    rng = random.Random(seed)
    for index in range(CAPTIONS):
        yield caption(rng, draw_scene(rng), "en" if index % 2 else "zh")


def main() -> None:
    """Writes the tokenizer in the Hugging Face layout to `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CHINESE_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(7), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="right",
        model_max_length=512,
        chat_template=CHAT_TEMPLATE,
    )
    wrapped.save_pretrained(out)
    for text in ("pizza on a blue background", "蓝色背景上的披萨", "Zanzibar 🦄 quux"):
        ids = wrapped(text).input_ids
        print(len(ids), [wrapped.decode([i]) for i in ids])


if __name__ == "__main__":
    main()
