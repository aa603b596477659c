// Makes pictures: of the form, or of a job again with something changed.
import { Refused } from "../lib/api.js";
import * as api from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { send } from "./batches.js";
import { bodyOf, missing, modelMeant, wantedOf } from "./form.js";
import { put } from "./gallery.js";
import { change, now } from "./store.js";
import { say } from "./toasts.js";

/** @typedef {import("./types.js").Job} Job */

/** Sends what the form says; what is missing is said there. */
export async function makeForm() {
  const { form, models, inputs, mask, control, submitting } = now();
  const model = modelMeant(form, models);
  if (submitting || missing() || !model) return;
  const isText = form.mode === "text2img";
  const lines = form.preprocess ? (inputs[0]?.blob ?? null) : (control?.blob ?? null);
  const body = bodyOf(wantedOf(form, model), {
    inputs: isText ? [] : inputs.map((picture) => picture.blob),
    mask: form.mode === "fill" ? mask : null,
    control: form.mode === "controlnet" ? lines : null,
  });
  await make(body);
}

/**
 * @param {Job} job
 * @param {Record<string, unknown>} changes
 */
export async function makeAgain(job, changes) {
  const { request, inputs } = job;
  /** @type {Record<string, unknown>} */
  const wanted = { ...request, step_cache: request.step_cache ?? 0, ...changes };
  if (!wanted.negative_prompt) delete wanted.negative_prompt;
  const model = now().models?.find((one) => one.id === request.model);
  if (model && !model.step_cache) delete wanted.step_cache;
  const [images, mask, control] = await Promise.all([
    Promise.all(inputs.input_images.map((image) => api.picture(image.url))),
    inputs.mask && api.picture(inputs.mask.url),
    inputs.control_image && api.picture(inputs.control_image.url),
  ]);
  await make(bodyOf(wanted, { inputs: images, mask, control }));
}

/** @param {FormData} body */
async function make(body) {
  change({ submitting: true });
  try {
    const batch = await send(body);
    put(batch.id);
    change({ stageBatch: batch.id });
  } catch (error) {
    say(wordsFor(error), { kind: "error" });
  } finally {
    change({ submitting: false });
  }
}

const OWN_WORDS = /** @type {const} */ ([
  "queue_full",
  "too_many_jobs",
  "rate_limited",
  "quota_exceeded",
  "shutting_down",
  "invalid_image",
  "unauthorized",
]);

/**
 * What went wrong, and what to do about it.
 * @param {unknown} error
 */
export function wordsFor(error) {
  if (!(error instanceof Refused)) return error instanceof Error ? error.message : String(error);
  const word = OWN_WORDS.find((one) => one === error.code) ?? "other";
  return t(word, { n: error.retryAfter, message: error.message });
}
