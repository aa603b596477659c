// The form: what it says, which of it the chosen model honours, and what is sent.
import { now, change } from "./store.js";

/** @typedef {import("./types.js").Form} Form */
/** @typedef {import("./types.js").Mode} Mode */
/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").InputPicture} InputPicture */

export const MAX_COUNT = 16;
const STEP_CACHE = 0.1;

/** @type {Form} */
export const EMPTY_FORM = {
  prompt: "",
  negative_prompt: "",
  mode: "text2img",
  model: null,
  width: null,
  height: null,
  steps: null,
  guidance: null,
  seed: "",
  seedLocked: false,
  count: 1,
  strength: null,
  preprocess: true,
  conditioning: null,
  loras: [],
  stepCache: false,
  upscale: false,
};

/** @param {Partial<Form>} changes */
export function fill(changes) {
  change({ form: { ...now().form, ...changes } });
}

/** @returns {Mode[]} that some model has */
export function modesOnOffer() {
  const all = /** @type {Mode[]} */ (["text2img", "img2img", "fill", "controlnet", "edit"]);
  return all.filter((mode) => (now().models ?? []).some((model) => model.modes.includes(mode)));
}

/**
 * The model that the form means: the chosen one if it has the mode, else the one that suits the mode best.
 * @param {Form} form
 * @param {Model[] | null} models
 * @returns {Model | null}
 */
export function modelMeant(form, models) {
  const able = (models ?? []).filter((model) => model.modes.includes(form.mode));
  const chosen = able.find((model) => model.id === form.model);
  if (chosen) return chosen;
  if (form.mode === "edit") return able.find((model) => model.instruction_edit) ?? able[0] ?? null;
  return able[0] ?? null;
}

/**
 * Another model or mode: what was said of sizes and steps belongs to the one before.
 * @param {Partial<Form>} changes
 */
export function choose(changes) {
  const { form, models } = now();
  const before = modelMeant(form, models);
  const next = { ...form, ...changes };
  if (modelMeant(next, models)?.id !== before?.id) {
    Object.assign(next, { width: null, height: null, steps: null, guidance: null, strength: null, loras: [] });
  }
  change({ form: next });
}

/**
 * How many pictures a mode starts from, at most.
 * @param {Mode} mode
 * @param {Model | null} model
 */
export function mostInputs(mode, model) {
  if (mode === "text2img") return 0;
  return mode === "edit" ? Math.max(1, model?.max_input_images ?? 1) : 1;
}

/**
 * @param {Form} form
 * @param {Model} model
 */
export function sizeOf(form, model) {
  return { width: form.width ?? model.defaults.width, height: form.height ?? model.defaults.height };
}

/**
 * @param {Form} form
 * @param {Model} model
 */
export function guidanceOf(form, model) {
  return form.guidance ?? model.defaults.mode_guidance_scale[form.mode] ?? model.defaults.guidance_scale;
}

/**
 * How much of the first picture goes; null where it is looked at, not begun with.
 * @param {Form} form
 * @param {Model} model
 */
export function strengthOf(form, model) {
  if (form.mode === "text2img" || (form.mode === "edit" && model.instruction_edit)) return null;
  const anew = form.mode === "fill" || form.mode === "controlnet";
  return form.strength ?? (anew ? 1 : model.defaults.strength);
}

/**
 * The name of what is still missing; null where the form may be sent.
 * @returns {"models" | "prompt" | "input" | "mask" | "control" | null}
 */
export function missing() {
  const { form, models, inputs, mask, control } = now();
  if (!modelMeant(form, models)) return "models";
  if (form.mode !== "text2img" && inputs.length === 0) return "input";
  if (form.mode === "fill" && !mask) return "mask";
  if (form.mode === "controlnet" && !control && !form.preprocess) return "control";
  if (!form.prompt.trim() && form.mode !== "img2img") return "prompt";
  return null;
}

/**
 * What the form asks for, in the API's words; only what the model honours.
 * @param {Form} form
 * @param {Model} model
 */
export function wantedOf(form, model) {
  /** @type {Record<string, unknown>} */
  const wanted = { prompt: form.prompt, mode: form.mode, model: model.id };
  const size = sizeOf(form, model);
  wanted.width = size.width;
  wanted.height = size.height;
  if (form.steps !== null) wanted.num_inference_steps = form.steps;
  if (model.guidance && form.guidance !== null) wanted.guidance_scale = form.guidance;
  if (model.negative_prompt && form.negative_prompt.trim()) wanted.negative_prompt = form.negative_prompt;
  if (form.seedLocked && form.seed !== "") wanted.seed = form.seed;
  if (form.count > 1) wanted.count = form.count;
  if (form.strength !== null && strengthOf(form, model) !== null) wanted.strength = form.strength;
  if (form.mode === "controlnet") {
    if (form.preprocess) wanted.control_preprocess = "canny";
    if (form.conditioning !== null) wanted.controlnet_conditioning_scale = form.conditioning;
  }
  const loras = form.loras.filter((lora) => model.loras.includes(lora.name));
  if (loras.length) wanted.loras = loras;
  if (model.step_cache && form.stepCache && form.mode !== "controlnet") wanted.step_cache = STEP_CACHE;
  if (form.upscale) wanted.upscale = true;
  return wanted;
}

/**
 * The whole request as a form's body.
 * @param {Record<string, unknown>} wanted
 * @param {{inputs: Blob[], mask: Blob | null, control: Blob | null}} pictures
 */
export function bodyOf(wanted, pictures) {
  const body = new FormData();
  body.append("request", JSON.stringify(wanted));
  pictures.inputs.forEach((blob, place) => body.append("input_image", blob, `input-${place + 1}.png`));
  if (pictures.mask) body.append("mask_image", pictures.mask, "mask.png");
  if (pictures.control) body.append("control_image", pictures.control, "control.png");
  return body;
}

/** A seed that every client language can count to. */
export function drawnSeed() {
  return String(crypto.getRandomValues(new Uint32Array(1))[0]);
}

/**
 * The settings of a request, for the form: those of a job, or of a picture's metadata.
 * @param {Partial<import("./types.js").RequestView>} request
 */
export function reuse(request) {
  const { models, form } = now();
  const model = (models ?? []).find((one) => one.id === request.model) ?? null;
  const mode = request.mode && modesOnOffer().includes(request.mode) ? request.mode : form.mode;
  /** @type {Form} */
  const next = { ...EMPTY_FORM, mode, model: model?.id ?? null, prompt: request.prompt ?? "" };
  const meant = modelMeant(next, models);
  next.negative_prompt = request.negative_prompt ?? "";
  next.width = within(request.width, meant?.min_side, meant?.max_side);
  next.height = within(request.height, meant?.min_side, meant?.max_side);
  next.steps = within(request.num_inference_steps, meant?.min_steps, meant?.max_steps);
  next.guidance = request.guidance_scale ?? null;
  next.strength = request.strength ?? null;
  next.conditioning = request.controlnet_conditioning_scale ?? null;
  next.preprocess = mode === "controlnet" ? request.control_preprocess === "canny" : true;
  next.loras = (request.loras ?? []).filter((lora) => meant?.loras.includes(lora.name));
  next.stepCache = Boolean(request.step_cache);
  next.upscale = Boolean(request.upscale);
  if (request.seed !== undefined && request.seed !== "") Object.assign(next, { seed: request.seed, seedLocked: true });
  change({ form: next });
}

/**
 * A number that the model takes; null, which is its default, for any other.
 * @param {number | undefined} value
 * @param {number | undefined} least
 * @param {number | undefined} most
 */
function within(value, least, most) {
  if (value === undefined || !Number.isFinite(value)) return null;
  return value >= (least ?? value) && value <= (most ?? value) ? value : null;
}
