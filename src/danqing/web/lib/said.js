// What the server says of errors, failures and notes, in the person's language where the page knows the words.
import { change, now } from "../state/store.js";
import { filled, t } from "./i18n.js";

/** @typedef {{code: string, values: Record<string, string>}} Sentence */

/** @typedef {{errors: Record<string, string>, sentences: Record<string, string>}} SaidWords */

/** Fetches the words, which the first sight of the page does not need. */
export async function fetchWords() {
  const [en, zh] = await Promise.all([import("../later/said_en.js"), import("../later/said_zh.js")]);
  change({
    said: {
      en: { errors: en.enErrors, sentences: en.enSentences },
      zh: { errors: zh.zhErrors, sentences: zh.zhSentences },
    },
  });
}

/** @returns {SaidWords} none until they are there */
function words() {
  const { said, settings } = now();
  return said?.[settings.language] ?? { errors: {}, sentences: {} };
}

// What the API calls settings and modes, as the form calls them.
const NAMES = /** @type {const} */ ({
  prompt: "prompt",
  negative_prompt: "negative",
  width: "width",
  height: "height",
  num_inference_steps: "steps",
  guidance_scale: "guidance",
  seed: "seed",
  strength: "strength",
  count: "count",
  loras: "loras",
  step_cache: "stepCache",
  controlnet_conditioning_scale: "conditioning",
  input_image: "inputPicture",
  mask_image: "mask",
  control_image: "controlPicture",
  text2img: "text2img",
  img2img: "img2img",
  fill: "fillMode",
  controlnet: "controlnet",
  edit: "edit",
  upscale: "upscale",
});
const NAMED = ["parameter", "mode", "what"];

/**
 * @param {Sentence | null | undefined} sentence
 * @returns {string | null} null for one that the page has no words for
 */
export function saidBy(sentence) {
  const text = sentence && words().sentences[sentence.code];
  if (!text) return null;
  const values = Object.entries(sentence.values).map(([name, value]) => [name, NAMED.includes(name) ? nameOf(value) : value]);
  return filled(text, Object.fromEntries(values));
}

/**
 * What an error or a failure says: its sentence, else the words for its code, else its message as it came.
 * @param {{code: string, message: string, sentence?: Sentence | null}} problem
 * @param {number} [seconds] until trying again helps
 */
export function saidOf(problem, seconds = 0) {
  const { errors } = words();
  const text = errors[problem.code] ?? errors[GENERAL[problem.code] ?? ""];
  return saidBy(problem.sentence) ?? (text ? filled(text, { n: seconds || 5, message: problem.message }) : problem.message);
}

/** @type {Record<string, string>} codes that are told with the words of a more general one */
const GENERAL = {
  missing_parameter: "invalid_request",
  parameter_out_of_range: "invalid_request",
  not_supported: "invalid_request",
  batch_full: "invalid_request",
  invalid_image: "invalid_request",
  job_not_found: "not_found",
  batch_not_found: "not_found",
  artifact_not_found: "not_found",
  worker_replaced: "worker_lost",
  ambiguous_batch: "conflict",
  data_directory_in_use: "internal_error",
};

/** @param {string} value */
function nameOf(value) {
  const word = Object.entries(NAMES).find(([name]) => name === value)?.[1];
  return word ? t(word) : value;
}
