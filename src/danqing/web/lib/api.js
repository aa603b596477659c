// The server's HTTP API: every request of the page goes through here.
import { keepKey, keptKey } from "./kept.js";

/** @typedef {import("../state/types.js").Batch} Batch */
/** @typedef {import("../state/types.js").Job} Job */

const BASE = new URL(".", document.baseURI);
let key = keptKey();

/** The server refused, and says why. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {string | null} parameter
   * @param {number} retryAfter seconds; 0 where trying again does not help
   * @param {import("./said.js").Sentence | null} [sentence]
   */
  constructor(status, code, message, parameter, retryAfter, sentence = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.parameter = parameter;
    this.retryAfter = retryAfter;
    this.sentence = sentence;
  }
}

/** The server cannot be reached. */
export class Unreachable extends Error {}

/**
 * @param {string} next
 * @param {boolean} stay whether this browser keeps it
 */
export function signIn(next, stay) {
  key = next;
  keepKey(next, stay);
}

export function hasKey() {
  return key !== "";
}

/**
 * The address of a path that the server told, also behind a proxy that adds a prefix.
 * @param {string} path
 */
export function at(path) {
  return new URL(path.replace(/^\//, ""), BASE).href;
}

export function serverAddress() {
  return BASE.href.replace(/\/$/, "");
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let answer;
  try {
    answer = await fetch(at(path), { ...options, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable("The server cannot be reached.");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

/** @param {Response} answer */
async function refusal(answer) {
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  try {
    const { error } = await answer.json();
    return new Refused(answer.status, error.code, error.message, error.parameter ?? null, retryAfter, error.sentence ?? null);
  } catch {
    // A proxy in between that cannot reach the server answers in its own words.
    if (answer.status >= 502 && answer.status <= 504) return new Unreachable("The server cannot be reached.");
    return new Refused(answer.status, `http_${answer.status}`, answer.statusText, null, retryAfter);
  }
}

/** @param {string} path */
async function json(path) {
  return (await request(path)).json();
}

/**
 * @returns {Promise<{models: import("../state/types.js").Model[], upscaler: import("../state/types.js").Upscaler | null,
 *   caller: import("../state/types.js").Caller}>}
 */
export function models() {
  return json("studio/models");
}

/**
 * @param {string | null} since of samples only those that are newer
 * @returns {Promise<import("../state/types.js").Machine>}
 */
export function machine(since) {
  return json(since ? `studio/machine?since=${encodeURIComponent(since)}` : "studio/machine");
}

/**
 * @param {{text: string, model: string, mode: string}} filter
 * @param {number} offset
 * @param {number} limit
 * @returns {Promise<{batches: Batch[], next_offset: number | null}>}
 */
export function batches(filter, offset, limit) {
  const query = new URLSearchParams({ limit: String(limit), offset: String(offset) });
  for (const [name, value] of Object.entries(filter)) if (value) query.set(name, value);
  return json(`studio/batches?${query}`);
}

/**
 * @param {string} id
 * @returns {Promise<Job>}
 */
export function job(id) {
  return json(`studio/jobs/${encodeURIComponent(id)}`);
}

/**
 * @param {FormData} form
 * @param {string} idempotencyKey
 * @returns {Promise<Batch>}
 */
export async function submit(form, idempotencyKey) {
  const headers = { "Idempotency-Key": idempotencyKey };
  return (await request("studio/batches", { method: "POST", body: form, headers })).json();
}

/**
 * @param {string} id
 * @returns {Promise<Job>}
 */
export async function cancel(id) {
  return (await request(`studio/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" })).json();
}

/** @param {string} id */
export async function remove(id) {
  await request(`studio/jobs/${encodeURIComponent(id)}`, { method: "DELETE", keepalive: true });
}

/** @returns {Promise<import("../state/types.js").IssuedKey[]>} */
export async function keys() {
  return (await json("studio/keys")).keys;
}

/**
 * @param {string} name
 * @returns {Promise<{key: string}>}
 */
export async function issueKey(name) {
  const headers = { "Content-Type": "application/json" };
  return (await request("studio/keys", { method: "POST", body: JSON.stringify({ name }), headers })).json();
}

/** @param {string} id */
export async function revokeKey(id) {
  await request(`studio/keys/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/**
 * @param {string} url
 * @returns {Promise<Blob>}
 */
export async function picture(url) {
  return (await request(url)).blob();
}
