"""Pictures that a request starts from: filled, edited, followed, dropped."""

import base64
import io

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin
from playwright.sync_api import expect

from danqing.engine.edges import canny
from tests.browser.studio import Studio, a_png


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


def test_a_picture_and_its_mask_outlive_a_reload(studio: Studio) -> None:
    studio.choose("fill")
    studio.add_picture(a_png())
    canvas = studio.page.locator(".mask-picture canvas")
    canvas.click()
    studio.write("a leaf")
    make = studio.page.get_by_role("button", name="Make", exact=True)
    expect(make).to_be_enabled()
    studio.page.reload()
    expect(studio.page.locator(".mask-picture img")).to_be_visible()
    expect(make).to_be_enabled()
    painted = canvas.evaluate("c => c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[3]")
    assert painted == 255


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
    import json

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
