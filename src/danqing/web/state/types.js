// What the server tells, and what the page keeps: types only.

/** @typedef {"text2img" | "img2img" | "fill" | "controlnet" | "edit" | "upscale"} Mode */
/** @typedef {"pending" | "processing" | "generated" | "completed" | "failed" | "cancelled"} JobState */

/**
 * @typedef {{url: string, media_type: string, width: number, height: number, size_bytes: number | null}} PictureView
 * @typedef {{name: string, scale: number}} Lora
 * @typedef {{prompt: string, negative_prompt: string, mode: Mode, model: string, width: number, height: number,
 *   num_inference_steps: number, guidance_scale: number, seed: string, strength: number | null,
 *   control_preprocess: string | null, controlnet_conditioning_scale: number | null, loras: Lora[],
 *   step_cache: number | null, upscale: boolean}} RequestView
 * @typedef {{id: string, batch_id: string, index: number, state: JobState, queue_position: number,
 *   request: RequestView, created_at: string, started_at: string | null, finished_at: string | null,
 *   attempts: number, adjustments: string[],
 *   notes: {text: string, sentence: import("../lib/said.js").Sentence | null}[],
 *   failure: {code: string, message: string, sentence: import("../lib/said.js").Sentence | null} | null,
 *   pictures: {original?: PictureView, preview?: PictureView, upscaled?: PictureView},
 *   inputs: {input_images: PictureView[], mask: PictureView | null, control_image: PictureView | null}}} Job
 * @typedef {{id: string, created_at: string, size: number, owner: string | null, jobs: Job[]}} Batch
 */

/**
 * @typedef {{id: string, title: string, family: string, licence: string | null, loaded: boolean, modes: Mode[],
 *   min_side: number, max_side: number, min_steps: number, max_steps: number,
 *   sizes: {multiple_of: number | null, max_pixels: number | null, trained: [number, number][]},
 *   guidance: boolean, negative_prompt: boolean, instruction_edit: boolean, step_cache: boolean,
 *   max_input_images: number, max_prompt_chars: number, loras: string[],
 *   defaults: {width: number, height: number, num_inference_steps: number, guidance_scale: number, strength: number,
 *     mode_guidance_scale: Partial<Record<Mode, number>>, controlnet_conditioning_scale: number | null}}} Model
 */

/**
 * A picture that a request starts from, in this page.
 * @typedef {{id: string, blob: Blob, url: string, width: number, height: number}} InputPicture
 */

/**
 * What the form says. null: the model's default. seed: text, for it may be beyond what numbers hold.
 * @typedef {{prompt: string, negative_prompt: string, mode: Mode, model: string | null, width: number | null,
 *   height: number | null, steps: number | null, guidance: number | null, seed: string, seedLocked: boolean,
 *   count: number, strength: number | null, preprocess: boolean, conditioning: number | null, loras: Lora[],
 *   stepCache: boolean, upscale: boolean}} Form
 */

/**
 * How far a job is. preview: a data URL.
 * @typedef {{stage: string, step: number, total: number, elapsed: number, at: number, preview: string | null,
 *   position: number}} Live
 */

/** @typedef {{factor: number, max_side: number}} Upscaler */
/** @typedef {{owner: string, sees_all: boolean, manages_keys: boolean}} Caller */
/** @typedef {{id: string, name: string, owner: string, created_at: string,
 *   last_used_on: string | null}} IssuedKey */

/**
 * @typedef {{id: string, state: string, restarts: number, models: string[], device: string | null,
 *   device_name: string | null, memory_used_bytes: number | null, memory_total_bytes: number | null,
 *   failure: string | null, failure_code: string | null}} Worker
 * @typedef {{at: string, cpu_percent: number, memory_used_bytes: number, pending: number, processing: number,
 *   completed: number, worker_memory_bytes: Record<string, number>}} Sample
 * @typedef {{id: string, name: string | null, cpu_percent: number, memory_used_bytes: number,
 *   memory_total_bytes: number, since: string | null}} HostLoad
 * @typedef {{load: HostLoad, samples: Sample[], whole: boolean, seen: number}} Host
 * @typedef {{version: string, draining: boolean, workers: Worker[],
 *   queue: {pending: number, processing: number, completed: number, failed: number, cancelled: number,
 *     max_pending: number},
 *   host: HostLoad, samples: Sample[]}} Machine
 */

export {};
