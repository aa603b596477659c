"""Pictures that a request starts from: filled, edited, followed, dropped."""

import base64
import io
import json

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin
from playwright.sync_api import CDPSession, expect

from danqing.engine.edges import canny
from tests.browser.studio import Studio, a_png

MASK_IS_KEPT = """() => new Promise((done) => {
  const opening = indexedDB.open("danqing", 1);
  opening.onsuccess = () => {
    const reading = opening.result.transaction("form").objectStore("form").get("pictures");
    reading.onsuccess = () => { opening.result.close(); done(Boolean(reading.result?.mask)); };
  };
})"""


def a_ring() -> bytes:
    file, image = io.BytesIO(), Image.new("RGB", (96, 80), (240, 240, 240))
    ImageDraw.Draw(image).ellipse((20, 12, 76, 68), fill=(30, 60, 120))
    image.save(file, "PNG")
    return file.getvalue()


def newest(studio: Studio) -> dict[str, object]:
    job: dict[str, object] = studio.api("/studio/batches")["batches"][0]["jobs"][0]
    return job


def picture_at(studio: Studio, address: str) -> Image.Image:
    return Image.open(io.BytesIO(studio.page.request.get(studio.url + address).body()))


def test_a_fill_with_a_drawn_mask(studio: Studio) -> None:
    page = studio.page
    # Given a picture, and a stroke over its upper half
    studio.choose("fill")
    studio.add_picture(a_png(size=(200, 100)))
    canvas = page.locator(".mask-picture canvas")
    box = canvas.bounding_box()
    assert box is not None
    expect(page.get_by_role("button", name="Make", exact=True)).to_be_disabled()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 60, box["y"] + box["height"] / 4, steps=5)
    page.mouse.up()
    # When another stroke is undone, and the picture made
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.9)
    page.get_by_role("button", name="Undo").click()
    studio.make("a green leaf")
    expect(studio.tile("completed")).to_have_count(1)
    # Then the server had a mask of the picture's size, white where the first stroke was and nowhere else
    job = newest(studio)
    mask = picture_at(studio, job["inputs"]["mask"]["url"]).convert("L")  # type: ignore[index]
    assert mask.size == (200, 100)
    assert (mask.getpixel((100, 25)), mask.getpixel((100, 90)), mask.getpixel((195, 25))) == (255, 0, 0)
    assert set(mask.tobytes()) == {0, 255}


def test_a_mask_of_transparency_is_shown_as_it_is_meant_when_its_job_is_reused(studio: Studio) -> None:
    page = studio.page
    # Given an edit as OpenAI's clients ask for it: made anew where the mask is transparent, its right half
    mask, file = Image.new("RGBA", (64, 64), (0, 0, 0, 255)), io.BytesIO()
    mask.paste((0, 0, 0, 0), (32, 0, 64, 64))
    mask.save(file, "PNG")
    files = {
        name: {"name": f"{name}.png", "mimeType": "image/png", "buffer": content}
        for name, content in (("image", a_png()), ("mask", file.getvalue()))
    }
    asked = page.request.post(f"{studio.url}/v1/images/edits", multipart={"prompt": "a masked leaf", **files})  # pyright: ignore[reportArgumentType]
    assert asked.ok, asked.text()
    # When its settings are used again
    studio.open("gallery")
    page.get_by_role("button", name="Picture: a masked leaf").click()
    studio.viewer.get_by_role("button", name="Reuse settings").click()
    # Then that half is painted, and no other
    canvas = page.locator(".mask-picture canvas")
    painted = "(c, x) => c.getContext('2d').getImageData(c.width * x, c.height / 2, 1, 1).data[3]"
    studio.wait_until(lambda: canvas.evaluate(painted, 0.75) == 255)
    assert canvas.evaluate(painted, 0.25) == 0


def test_a_picture_and_its_mask_outlive_a_reload(studio: Studio) -> None:
    studio.choose("fill")
    studio.add_picture(a_png())
    canvas = studio.page.locator(".mask-picture canvas")
    canvas.click()
    studio.write("a leaf")
    make = studio.page.get_by_role("button", name="Make", exact=True)
    expect(make).to_be_enabled()
    studio.page.wait_for_function(MASK_IS_KEPT)
    studio.page.reload()
    expect(studio.page.locator(".mask-picture img")).to_be_visible()
    expect(make).to_be_enabled()
    painted = "c => c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[3]"
    studio.wait_until(lambda: canvas.evaluate(painted) == 255)
    # And all of it can be taken away
    clear = studio.page.get_by_role("button", name="Clear")
    expect(clear).to_be_enabled()
    clear.click()
    expect(make).to_be_disabled()


def test_a_mask_is_painted_with_the_keyboard(studio: Studio) -> None:
    studio.choose("fill")
    studio.add_picture(a_png())
    canvas = studio.page.locator(".mask-picture canvas")
    canvas.focus()
    canvas.press("ArrowLeft")
    canvas.press("Space")
    studio.write("a leaf")
    expect(studio.page.get_by_role("button", name="Make", exact=True)).to_be_enabled()
    studio.page.get_by_role("button", name="Clear").click()
    expect(studio.page.get_by_role("button", name="Make", exact=True)).to_be_disabled()


def test_an_edit_with_several_references(studio: Studio) -> None:
    studio.choose("edit")
    studio.add_picture(a_png((10, 200, 10)), a_png((10, 10, 200)))
    expect(studio.page.locator(".thumb")).to_have_count(2)
    studio.make("make the first like the second")
    expect(studio.tile("completed")).to_have_count(1)
    job = newest(studio)
    assert job["request"]["model"] == "sample-edit"  # type: ignore[index]
    assert len(job["inputs"]["input_images"]) == 2  # type: ignore[index]


def test_a_controlnet_follows_the_lines_of_the_picture_itself(studio: Studio) -> None:
    studio.choose("controlnet")
    studio.add_picture(a_ring())
    # Then the lines that are found are shown, about as the server finds them
    lines = studio.page.get_by_role("img", name="Lines found")
    expect(lines).to_be_visible()
    address = lines.get_attribute("src") or ""
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("L")) > 0
    found = canny(np.asarray(Image.open(io.BytesIO(a_ring())).convert("RGB"))) > 0
    assert found.sum() > 100
    assert (shown != found).mean() < 0.01
    studio.make("a house")
    expect(studio.tile("completed")).to_have_count(1)
    job = newest(studio)
    assert job["request"]["control_preprocess"] == "canny"  # type: ignore[index]
    assert job["inputs"]["control_image"]  # type: ignore[index]


def test_a_made_picture_is_used_varied_and_compared(studio: Studio) -> None:
    page = studio.page
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    studio.tiles.get_by_role("button").click()
    studio.viewer.get_by_role("button", name="Use as input").click()
    # Then it is the input of a mode that takes one
    expect(page.locator(".mode input[value=img2img]")).to_be_checked()
    expect(page.locator(".thumb img")).to_be_visible()
    studio.make("another one")
    expect(studio.tile("completed")).to_have_count(1)
    # And before and after can be told apart
    studio.tiles.get_by_role("button").click()
    studio.viewer.get_by_role("button", name="Compare").click()
    slider = page.get_by_label("How much of the one before is shown")
    slider.focus()
    slider.press("Home")
    expect(slider).to_have_value("0")
    # And it can be varied: the same but for the seed
    before = newest(studio)
    studio.viewer.get_by_role("button", name="Vary").click()
    expect(studio.viewer).to_have_count(0)
    expect(studio.tile("completed")).to_have_count(1)
    after = newest(studio)
    assert after["id"] != before["id"]
    unlike = {key for key in before["request"] if before["request"][key] != after["request"][key]}  # type: ignore[attr-defined, index]
    assert unlike == {"seed"}


def test_an_enlarged_copy_is_made_along_with_a_picture_where_that_is_ticked(studio: Studio) -> None:
    studio.page.locator(".unfold").click()
    studio.page.get_by_label("Enlarge ×4 as well").check()
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    upscaled = newest(studio)["pictures"]["upscaled"]  # type: ignore[index]
    assert (upscaled["width"], upscaled["height"]) == (256, 256)
    studio.tiles.get_by_role("button").click()
    expect(studio.viewer.get_by_role("button", name="Enlarged already")).to_be_disabled()


def with_text(keyword: str, text: str) -> bytes:
    file, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    texts.add_itxt(keyword, text)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=texts)
    return file.getvalue()


def test_a_dropped_png_of_a1111_fills_the_form(studio: Studio) -> None:
    page = studio.page
    studio.drop(
        with_text(
            "parameters",
            "a fox, 雪 <lora:nothing:0.5>\nNegative prompt: blurry\n"
            "Steps: 12, Sampler: Euler, CFG scale: 3.5, Seed: 123456789, Size: 640x384, Model: unknown",
        )
    )
    expect(studio.toast).to_contain_text("A1111")
    expect(studio.prompt).to_have_value("a fox, 雪")
    expect(page.locator("#seed")).to_have_value("123456789")
    expect(page.locator("input[name=width]")).to_have_value("640")
    expect(page.locator("input[name=height]")).to_have_value("384")
    page.get_by_role("button", name="More settings").click()
    expect(page.locator("input[name=steps]")).to_have_value("12")
    expect(page.locator("input[name=guidance]")).to_have_value("3.5")
    expect(page.locator("textarea[name=negative]")).to_have_value("blurry")


def test_dropped_pngs_of_comfyui_and_invokeai_fill_the_form(studio: Studio) -> None:
    graph = """{"3": {"class_type": "KSampler", "inputs": {"seed": 9007199254740993, "steps": 20, "cfg": 4,
        "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0], "denoise": 1}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 256, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a comfortable chair"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}}}"""
    studio.drop(with_text("prompt", graph))
    expect(studio.prompt).to_have_value("a comfortable chair")
    expect(studio.page.locator("#seed")).to_have_value("9007199254740993")
    expect(studio.page.locator("input[name=width]")).to_have_value("512")

    told = '{"positive_prompt": "a castle", "negative_prompt": "", "width": 320, "height": 320, "seed": 7, "steps": 10}'
    studio.drop(with_text("invokeai_metadata", told))
    expect(studio.prompt).to_have_value("a castle")
    expect(studio.page.locator("#seed")).to_have_value("7")


def test_a_dropped_png_of_danqing_fills_the_form_or_is_the_input(studio: Studio) -> None:
    request = {
        "prompt": "two cats", "negative_prompt": "", "mode": "text2img", "model": "sample", "width": 128, "height": 96,
        "num_inference_steps": 5, "guidance_scale": 0.0, "seed": 2**63 - 1, "loras": [], "further": ["upscaled"],
    }  # fmt: skip
    studio.drop(with_text("danqing", json.dumps({"request": request, "version": "0.1.0"})))
    expect(studio.toast).to_contain_text("Danqing")
    expect(studio.prompt).to_have_value("two cats")
    expect(studio.page.locator("#seed")).to_have_value(str(2**63 - 1))
    studio.toast.get_by_role("button", name="Use the picture instead").click()
    expect(studio.page.locator(".thumb img")).to_be_visible()


def test_a_dropped_picture_without_words_becomes_the_input(studio: Studio) -> None:
    studio.drop(a_png())
    expect(studio.page.locator(".thumb img")).to_be_visible()
    expect(studio.page.locator(".mode input[value=img2img]")).to_be_checked()
    studio.drop(b"no picture", media_type="text/plain")
    expect(studio.toast).to_contain_text("This is no PNG, JPEG or WebP picture")


def test_a_dropped_png_of_a1111_that_was_drawn_twice_is_still_made_of_words(studio: Studio) -> None:
    settings = (
        "a fox\nSteps: 12, Sampler: Euler, CFG scale: 3.5, Seed: 5, Size: 512x512, Denoising strength: 0.7, "
        "Hires upscale: 2, Hires steps: 10, Hires upscaler: Latent, Version: v1.10.1"
    )
    studio.drop(with_text("parameters", settings))
    expect(studio.prompt).to_have_value("a fox")
    expect(studio.page.locator(".mode input[value=text2img]")).to_be_checked()
    expect(studio.page.get_by_role("button", name="Make", exact=True)).to_be_enabled()
    # And one that was made of a picture says so still
    studio.drop(with_text("parameters", settings.replace("Hires", "Other")))
    expect(studio.page.locator(".mode input[value=img2img]")).to_be_checked()
    expect(studio.page.locator("input[name=strength]")).to_have_value("0.7")


def test_a_dropped_png_of_comfyui_made_with_flux_fills_the_form(studio: Studio) -> None:
    # Given the graph of ComfyUI's Flux example, a node of which says that it is always to be run again
    nodes = {
        "5": ("EmptyLatentImage", {"width": 640, "height": 384, "batch_size": 1}),
        "6": ("CLIPTextEncode", {"text": "a cat: NaN, 12345678901234567", "clip": ["11", 0]}),
        "13": (
            "SamplerCustomAdvanced",
            {
                "noise": ["25", 0],
                "guider": ["22", 0],
                "sampler": ["16", 0],
                "sigmas": ["17", 0],
                "latent_image": ["5", 0],
            },
        ),
        "14": ("Seeded", {"seed": 3, "steps": 4}),
        "15": ("KSamplerSelect", {"sampler_name": "ddim", "steps": 3}),
        "16": ("KSamplerSelect", {"sampler_name": "euler"}),
        "17": ("BasicScheduler", {"scheduler": "simple", "steps": 21, "denoise": 1.0, "model": ["30", 0]}),
        "22": ("BasicGuider", {"model": ["30", 0], "conditioning": ["26", 0]}),
        "25": ("RandomNoise", {"noise_seed": 9007199254740993}),
        "26": ("FluxGuidance", {"guidance": 2.5, "conditioning": ["6", 0]}),
    }
    graph = {
        name: {"class_type": kind, "inputs": inputs, "is_changed": [float("nan")]}
        for name, (kind, inputs) in nodes.items()
    }
    # When a picture of it is dropped
    studio.drop(with_text("prompt", json.dumps(graph)))
    # Then it is found what was said, and what made the noise and its steps
    expect(studio.prompt).to_have_value("a cat: NaN, 12345678901234567")
    expect(studio.page.locator("#seed")).to_have_value("9007199254740993")
    expect(studio.page.locator("input[name=width]")).to_have_value("640")
    expect(studio.page.locator(".mode input[value=text2img]")).to_be_checked()
    studio.page.get_by_role("button", name="More settings").click()
    expect(studio.page.locator("input[name=steps]")).to_have_value("21")
    expect(studio.page.locator("input[name=guidance]")).to_have_value("2.5")


def test_a_dropped_png_of_comfyui_without_a_negative_prompt_has_none(studio: Studio) -> None:
    nodes = {
        "3": (
            "KSampler",
            {"seed": 1, "steps": 8, "cfg": 1, "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]},
        ),
        "5": ("EmptySD3LatentImage", {"width": 512, "height": 512, "batch_size": 1}),
        "6": ("CLIPTextEncode", {"text": "a boat"}),
        "7": ("ConditioningZeroOut", {"conditioning": ["6", 0]}),
    }
    graph = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    studio.drop(with_text("prompt", json.dumps(graph)))
    expect(studio.prompt).to_have_value("a boat")
    studio.page.get_by_role("button", name="More settings").click()
    expect(studio.page.locator("textarea[name=negative]")).to_have_value("")


def touch(studio: Studio, fingers: CDPSession, kind: str, *points: tuple[float, float]) -> None:
    """All fingers on the mask, in parts of its sides."""
    box = studio.page.locator(".mask-picture canvas").bounding_box()
    assert box is not None
    places = [
        {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": n}
        for n, (x, y) in enumerate(points)
    ]
    fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})


def painted(studio: Studio, x: float, y: float) -> bool:
    """At this part of its sides."""
    look = "(c, [x, y]) => c.getContext('2d').getImageData(c.width * x, c.height * y, 1, 1).data[3] > 127"
    return bool(studio.page.locator(".mask-picture canvas").evaluate(look, [x, y]))


def test_a_second_finger_on_the_mask_draws_nothing_and_a_touch_that_is_interrupted_counts(studio: Studio) -> None:
    page = studio.page
    studio.choose("fill")
    studio.add_picture(a_png(size=(200, 200)))
    page.locator(".mask-picture canvas").scroll_into_view_if_needed()
    studio.write("a leaf")
    make, undo = page.get_by_role("button", name="Make", exact=True), page.get_by_role("button", name="Undo")
    # When a second finger comes down below the first and both move
    fingers = page.context.new_cdp_session(page)
    touch(studio, fingers, "touchStart", (0.2, 0.2))
    touch(studio, fingers, "touchStart", (0.2, 0.2), (0.8, 0.8))
    touch(studio, fingers, "touchMove", (0.5, 0.2), (0.5, 0.8))
    touch(studio, fingers, "touchMove", (0.8, 0.2), (0.2, 0.8))
    # And the touch is taken away, as by a call
    touch(studio, fingers, "touchCancel")
    # Then there is the line of the first one, in the mask too, and no other
    expect(undo).to_be_enabled()
    expect(make).to_be_enabled()
    assert painted(studio, 0.5, 0.2)
    assert not painted(studio, 0.5, 0.5)
    assert not painted(studio, 0.5, 0.8)
    # And a finger that comes from outside does not lengthen it
    box = page.locator(".mask-picture canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] - 20, box["y"] + box["height"] * 0.9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.9, steps=4)
    page.mouse.up()
    assert not painted(studio, 0.5, 0.9)
    undo.click()
    expect(undo).to_be_disabled()
    expect(make).to_be_disabled()


def test_a_mask_that_is_ready_late_does_not_come_back_after_it_was_cleared(studio: Studio) -> None:
    page = studio.page
    # Given a browser that takes its time to write a mask
    page.evaluate(
        """() => {
            const write = HTMLCanvasElement.prototype.toBlob;
            HTMLCanvasElement.prototype.toBlob = function (done, type) {
                const late = (blob) => {
                    done(blob);
                    document.documentElement.dataset.mask = "written";
                };
                write.call(this, (blob) => setTimeout(late, 500, blob), type);
            };
        }"""
    )
    studio.choose("fill")
    studio.add_picture(a_png())
    studio.write("a leaf")
    # When what was painted is cleared before that
    page.locator(".mask-picture canvas").click()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("html")).to_have_attribute("data-mask", "written")
    # Then there is no mask
    expect(page.get_by_role("button", name="Make", exact=True)).to_be_disabled()
    expect(page.locator("#submit-hint")).to_have_text("Paint over what is to change.")


def test_only_the_pictures_that_are_shown_are_sent(studio: Studio) -> None:
    # Given two pictures to edit
    studio.choose("edit")
    studio.add_picture(a_png((10, 200, 10)), a_png((10, 10, 200)))
    expect(studio.page.locator(".thumb")).to_have_count(2)
    # When one is to be refined, where there is room for one
    studio.choose("img2img")
    expect(studio.page.locator(".thumb")).to_have_count(1)
    studio.make("a plain one")
    # Then that is made, and the other is there when it is wanted again
    expect(studio.tile("completed")).to_have_count(1)
    job = newest(studio)
    assert len(job["inputs"]["input_images"]) == 1  # type: ignore[index]
    studio.choose("edit")
    expect(studio.page.locator(".thumb")).to_have_count(2)
