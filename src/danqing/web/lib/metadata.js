// How a picture was made, as its file says: Danqing's own words, A1111's, ComfyUI's and InvokeAI's.
import { pngTexts } from "./png_texts.js";

/** @typedef {Partial<import("../state/types.js").RequestView>} Said */
/** @typedef {Record<string, any>} Json */

/**
 * @param {Blob} file
 * @returns {Promise<{by: string, said: Said} | null>} null where the file says nothing that is understood
 */
export async function madeHow(file) {
  const texts = await pngTexts(file);
  const readers = /** @type {const} */ ([
    ["Danqing", "danqing", ofDanqing],
    ["InvokeAI", "invokeai_metadata", ofInvoke],
    ["ComfyUI", "prompt", ofComfy],
    ["A1111", "parameters", ofA1111],
  ]);
  for (const [by, keyword, read] of readers) {
    const text = texts.get(keyword);
    if (text === undefined) continue;
    try {
      const said = read(text);
      if (said) return { by, said };
    } catch {
      // It looks like that program's and is not.
    }
  }
  return null;
}

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|NaN|-?Infinity/g;
const MOST_DIGITS = 15; // of what JavaScript's numbers hold exactly

/**
 * JSON as Python writes it: NaN and Infinity become null, and a seed of more digits than a number holds stays text.
 * @param {string} text
 */
function parsed(text) {
  return JSON.parse(
    text.replace(TOKEN, (token) => {
      if (/^(NaN|-?Infinity)$/.test(token)) return "null";
      return token.length > MOST_DIGITS && /^\d+$/.test(token) ? `"${token}"` : token;
    }),
  );
}

/** @param {unknown} value */
function seedOf(value) {
  return /^\d+$/.exec(String(value))?.[0] ?? "";
}

/**
 * @param {string} text
 * @returns {Said | null}
 */
export function ofDanqing(text) {
  const { request } = parsed(text);
  if (request.mode === "upscale") return null; // it tells of no settings
  return {
    prompt: request.prompt,
    negative_prompt: request.negative_prompt,
    mode: request.mode,
    model: request.model,
    width: request.width,
    height: request.height,
    num_inference_steps: request.num_inference_steps,
    guidance_scale: request.guidance_scale,
    seed: seedOf(request.seed),
    strength: request.strength,
    control_preprocess: request.control_preprocess,
    controlnet_conditioning_scale: request.controlnet_conditioning_scale,
    loras: request.loras ?? [],
    step_cache: request.step_cache,
    upscale: (request.further ?? []).includes("upscaled"),
  };
}

const COMFY_SAMPLER = /^KSampler(?!Select)|SamplerCustom/;
const LORA = /<lora:([^:>]+):(-?[\d.]+)>/g;

/**
 * @param {string} text
 * @returns {Said | null}
 */
export function ofA1111(text) {
  const lines = text.trim().split("\n");
  const settings = lines.at(-1) ?? "";
  if (!/\bSteps: \d+/.test(settings)) return null;
  const body = lines.slice(0, -1).join("\n");
  const [positive = "", ...negative] = body.split(/^Negative prompt: /m);
  /** @param {string} name */
  const value = (name) => new RegExp(`(?:^|, )${name}: ("(?:[^"\\\\]|\\\\.)*"|[^,]*)`).exec(settings)?.[1]?.trim();
  const size = /^(\d+)x(\d+)$/.exec(value("Size") ?? "");
  // A picture that was made of words and then drawn again, larger, has a strength too: that of the second pass.
  const strength = /\bHires (upscale|resize|steps)/.test(settings) ? undefined : value("Denoising strength");
  return {
    prompt: positive.replace(LORA, "").trim(),
    negative_prompt: negative.join("\n").trim(),
    mode: strength === undefined ? "text2img" : "img2img",
    model: value("Model"),
    width: size ? Number(size[1]) : undefined,
    height: size ? Number(size[2]) : undefined,
    num_inference_steps: numberOf(value("Steps")),
    guidance_scale: numberOf(value("CFG scale")),
    seed: seedOf(value("Seed")),
    strength: numberOf(strength) ?? null,
    loras: [...positive.matchAll(LORA)].map(([, name = "", scale]) => ({ name, scale: Number(scale) })),
  };
}

/**
 * The graph is walked back from its sampler.
 * @param {string} text
 * @returns {Said | null}
 */
export function ofComfy(text) {
  /** @type {Record<string, {class_type: string, inputs: Json}>} */
  const nodes = parsed(text);
  const all = Object.values(nodes);
  const sampler = all.find((node) => COMFY_SAMPLER.test(node.class_type));
  if (!sampler) return null;
  /** @param {unknown} link */
  const linked = (link) => (Array.isArray(link) ? nodes[String(link[0])] : undefined);
  /**
   * @param {unknown} link
   * @returns {string}
   */
  const words = (link, depth = 0) => {
    const node = linked(link);
    if (!node || depth > 8 || node.class_type === "ConditioningZeroOut") return "";
    const said = node.inputs.text ?? node.inputs.prompt ?? node.inputs.t5xxl;
    if (typeof said === "string") return said;
    return words(said ?? node.inputs.conditioning ?? node.inputs.positive, depth + 1);
  };
  const { guider, noise, sigmas, seed, noise_seed } = sampler.inputs;
  const near = [sampler, ...[guider, noise, sigmas, seed, noise_seed].flatMap((link) => linked(link) ?? [])];
  /**
   * A number, as text: of the sampler, of what leads to it, or of any node.
   * @param {string[]} names
   * @returns {string | undefined}
   */
  const anywhere = (...names) => {
    for (const { inputs } of [...near, ...all]) {
      const name = names.find((one) => /^-?\d+(\.\d+)?$/.test(String(inputs[one])));
      if (name) return String(inputs[name]);
    }
    return undefined;
  };
  const latent = all.find((node) => /Empty.*Latent/.test(node.class_type));
  const strength = sampler.inputs.denoise ?? linked(sigmas)?.inputs.denoise;
  const positive = words(sampler.inputs.positive ?? guider);
  return {
    prompt: positive || words(all.find((node) => node.inputs.positive)?.inputs.positive),
    negative_prompt: words(sampler.inputs.negative ?? linked(guider)?.inputs.negative),
    mode: latent ? "text2img" : "img2img",
    width: latent?.inputs.width,
    height: latent?.inputs.height,
    num_inference_steps: numberOf(anywhere("steps")),
    guidance_scale: numberOf(anywhere("guidance") ?? anywhere("cfg")),
    seed: seedOf(anywhere("noise_seed", "seed")),
    strength: latent || typeof strength !== "number" ? null : strength,
  };
}

/**
 * @param {string} text
 * @returns {Said | null}
 */
export function ofInvoke(text) {
  const said = parsed(text);
  if (typeof said.positive_prompt !== "string") return null;
  return {
    prompt: said.positive_prompt,
    negative_prompt: said.negative_prompt ?? "",
    mode: said.strength === undefined || /txt2img/.test(said.generation_mode ?? "") ? "text2img" : "img2img",
    model: said.model?.name,
    width: said.width,
    height: said.height,
    num_inference_steps: said.steps,
    guidance_scale: said.cfg_scale ?? said.guidance,
    seed: seedOf(said.seed),
    strength: said.strength ?? null,
    loras: (said.loras ?? []).map((/** @type {Json} */ lora) => ({
      name: lora.model?.name ?? lora.lora?.model_name ?? "",
      scale: lora.weight ?? 1,
    })),
  };
}

/** @param {string | undefined} text */
function numberOf(text) {
  const number = Number(text);
  return text !== undefined && text !== "" && Number.isFinite(number) ? number : undefined;
}
