// Makes pictures: of the form, or of a job again with something changed.
import * as api from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { send } from "./batches.js";
import { bodyOf, missing, modelMeant, mostInputs, wantedOf } from "./form.js";
import { put } from "./gallery.js";
import { painted } from "./inputs.js";
import { change, now } from "./store.js";
import { sayWhy } from "./toasts.js";

/** @typedef {import("./types.js").Job} Job */

/** Sends what the form says; what is missing is said there. */
export async function makeForm() {
  const { form, models, inputs, control, submitting } = now();
  const model = modelMeant(form, models);
  if (submitting || missing() || !model) return;
  const lines = form.preprocess ? (inputs[0]?.blob ?? null) : (control?.blob ?? null);
  await make(async () => {
    await painted();
    return bodyOf(wantedOf(form, model), {
      inputs: inputs.slice(0, mostInputs(form.mode, model)).map((picture) => picture.blob),
      mask: form.mode === "fill" ? now().mask : null,
      control: form.mode === "controlnet" ? lines : null,
    });
  });
}

/**
 * Returns whether the server has it; if not, why was said.
 * @param {Job} job
 * @param {Record<string, unknown>} changes
 * @returns {Promise<boolean>}
 */
export async function makeAgain(job, changes) {
  const { request, inputs } = job;
  const [source] = inputs.input_images;
  if (request.mode === "upscale" && source) return enlarge(() => api.picture(source.url), request.prompt);
  /** @type {Record<string, unknown>} */
  const wanted = { ...request, step_cache: request.step_cache ?? 0, ...changes };
  if (!wanted.negative_prompt) delete wanted.negative_prompt;
  const model = now().models?.find((one) => one.id === request.model);
  if (model && !model.step_cache) delete wanted.step_cache;
  return make(async () => {
    const [images, mask, control] = await Promise.all([
      Promise.all(inputs.input_images.map((image) => api.picture(image.url))),
      inputs.mask && api.picture(inputs.mask.url),
      inputs.control_image && api.picture(inputs.control_image.url),
    ]);
    return bodyOf(wanted, { inputs: images, mask, control });
  });
}

/**
 * Makes of a picture one that is larger, and nothing else. prompt: what it will be found by.
 * Returns whether the server has it; if not, why was said.
 * @param {() => Promise<Blob>} read
 * @param {string} prompt
 */
export function enlarge(read, prompt) {
  return make(async () => bodyOf({ prompt, mode: "upscale" }, { inputs: [await read()], mask: null, control: null }));
}

/**
 * Why a picture cannot be enlarged; null where it can.
 * @param {{width: number, height: number}} picture
 */
export function notEnlarged({ width, height }) {
  const { upscaler } = now();
  if (!upscaler) return t("noUpscaler");
  if (Math.max(width, height) > upscaler.max_side) return t("tooLargeToEnlarge", { n: upscaler.max_side });
  return null;
}

/**
 * @param {() => Promise<FormData>} read
 * @returns {Promise<boolean>}
 */
async function make(read) {
  change({ submitting: true });
  try {
    const batch = await send(await read());
    put(batch.id);
    change({ stageBatch: batch.id });
    return true;
  } catch (error) {
    sayWhy(error);
    return false;
  } finally {
    change({ submitting: false });
  }
}
