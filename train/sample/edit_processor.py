"""A Qwen2VLProcessor for pictures only: the class itself asks for a video processor, and that for torchvision."""

from pathlib import Path

from transformers import BatchFeature, Qwen2Tokenizer, Qwen2VLImageProcessorPil, Qwen2VLProcessor


class PictureProcessor(Qwen2VLProcessor):
    """Does what the edit pipelines need of a Qwen2VLProcessor."""

    def __init__(self, image_processor: Qwen2VLImageProcessorPil, tokenizer: Qwen2Tokenizer) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer
        self.image_token = "<|image_pad|>"

    def __call__(self, images: list | None = None, text: list[str] | None = None, **_: object) -> BatchFeature:  # type: ignore[override]
        """images: PIL pictures, in the order of their tokens in text. As the pipelines call it: padded, tensors."""
        seen = dict(self.image_processor(images=images, return_tensors="pt")) if images else {}
        text = list(text or [])
        counts = iter((seen["image_grid_thw"].prod(-1) // 4).tolist() if images else [])
        for index, line in enumerate(text):
            head, *rest = line.split(self.image_token)
            text[index] = head + "".join(self.image_token * next(counts) + part for part in rest)
        return BatchFeature({**self.tokenizer(text, padding=True, return_tensors="pt"), **seen})


def picture_processor(folder: Path) -> PictureProcessor:
    """From a checkpoint's `processor` folder."""
    return PictureProcessor(Qwen2VLImageProcessorPil.from_pretrained(folder), Qwen2Tokenizer.from_pretrained(folder))
