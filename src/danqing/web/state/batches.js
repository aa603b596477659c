// The batches and jobs that the page knows, and the stream that tells how those under way go on.
import { Refused, Unreachable } from "../lib/api.js";
import * as api from "../lib/api.js";
import { follow } from "../lib/events.js";
import { change, now } from "./store.js";
import { sayWhy } from "./toasts.js";

/** @typedef {import("./types.js").Batch} Batch */
/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Live} Live */

const FINAL = new Set(["completed", "failed", "cancelled"]);
const MOST_FOLLOWED = 150;
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 5000;

/** @type {AbortController | null} */
let following = null;
let followed = "";

/** @param {Job} job */
export function isOver(job) {
  return FINAL.has(job.state);
}

/**
 * Whether it can still be cancelled: not once it has its picture.
 * @param {Job} job
 */
export function mayCancel(job) {
  return !isOver(job) && job.state !== "generated";
}

/**
 * @param {string | null} id
 * @returns {Job | null}
 */
export function jobOf(id) {
  if (!id) return null;
  for (const batch of now().batches.values()) {
    const found = batch.jobs.find((job) => job.id === id);
    if (found) return found;
  }
  return null;
}

/**
 * Takes in batches as the server told them.
 * @param {Batch[]} told
 */
export function learn(told) {
  const { batches, removing } = now();
  for (const batch of told) {
    const over = new Map(batches.get(batch.id)?.jobs.filter(isOver).map((job) => [job.id, job]));
    const newest = batch.jobs.map((job) => (isOver(job) ? job : (over.get(job.id) ?? job))); // an answer may be late
    const jobs = newest.filter((job) => !removing.has(job.id));
    if (jobs.length) batches.set(batch.id, { ...batch, jobs });
  }
  change({ batches: new Map(batches) });
  followUnfinished();
}

/**
 * Takes in one job.
 * @param {Job} job
 */
export function learnJob(job) {
  const { batches, live, removing } = now();
  if (removing.has(job.id)) return;
  const batch = batches.get(job.batch_id);
  if (batch) {
    const jobs = batch.jobs.map((known) => (known.id === job.id ? job : known));
    if (!jobs.some((known) => known.id === job.id)) jobs.push(job);
    batches.set(batch.id, { ...batch, jobs });
  } else {
    batches.set(job.batch_id, { id: job.batch_id, created_at: job.created_at, size: 1, owner: null, jobs: [job] });
  }
  const states = new Map(live);
  if (isOver(job)) states.delete(job.id);
  else states.set(job.id, { ...liveOf(job), position: job.queue_position, ...(job.state === "pending" ? RESET : {}) });
  change({ batches: new Map(batches), live: states });
}

const RESET = { step: 0, total: 0, elapsed: 0, preview: null };

/**
 * @param {string} id
 */
export function forgetJob(id) {
  const batches = new Map(now().batches);
  for (const batch of batches.values()) {
    const jobs = batch.jobs.filter((job) => job.id !== id);
    if (jobs.length === batch.jobs.length) continue;
    if (jobs.length) batches.set(batch.id, { ...batch, jobs });
    else batches.delete(batch.id);
  }
  change({ batches });
}

/**
 * A job that was taken off the page is shown again, where it was; others of its batch stay as they are by now.
 * @param {Job} job
 * @param {Batch | undefined} before the batch as it was
 */
export function bringBack(job, before) {
  const batches = new Map(now().batches);
  const batch = batches.get(job.batch_id) ?? (before && { ...before, jobs: [] });
  if (!batch) return learnJob(job);
  const jobs = [...batch.jobs.filter((known) => known.id !== job.id), job].sort((one, other) => one.index - other.index);
  batches.set(batch.id, { ...batch, jobs });
  change({ batches });
}

/** Follows exactly the jobs that have not ended, with one stream. */
function followUnfinished() {
  const ids = [];
  for (const batch of now().batches.values()) for (const job of batch.jobs) if (!isOver(job)) ids.push(job.id);
  ids.splice(MOST_FOLLOWED);
  const wanted = ids.sort().join(" ");
  if (wanted === followed) return;
  followed = wanted;
  following?.abort();
  following = null;
  if (ids.length) {
    following = new AbortController();
    void keepFollowing(ids, following.signal);
  }
}

/**
 * Through lost connections and restarted servers, until all have ended or others are to be followed.
 * @param {string[]} ids
 * @param {AbortSignal} signal
 */
async function keepFollowing(ids, signal) {
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    let ended = false;
    try {
      await follow(
        ids,
        (event, data) => {
          wait = FIRST_WAIT_MS;
          if (event === "end") ended = true;
          else take(event, data);
        },
        signal,
      );
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status === 401) {
        followed = "";
        return sayWhy(error);
      }
      if (!(error instanceof Refused)) change({ connection: "lost" });
    }
    if (ended) {
      followed = "";
      return followUnfinished();
    }
    await pause(wait);
    wait = Math.min(LONGEST_WAIT_MS, wait * 1.6);
  }
}

/**
 * @param {string} event
 * @param {any} data
 */
function take(event, data) {
  if (now().connection === "lost") change({ connection: "fine" });
  if (event === "job") return learnJob(data);
  if (event === "gone") return forgetJob(data.job_id);
  const live = new Map(now().live);
  const job = jobOf(data.job_id);
  if (!job || isOver(job)) return;
  const known = liveOf(job);
  if (event === "position") live.set(job.id, { ...known, position: data.queue_position });
  else if (event === "preview") live.set(job.id, { ...known, preview: data.image });
  else if (event === "progress") {
    const { stage, step, total_steps: total, elapsed_s: elapsed } = data;
    live.set(job.id, { ...known, stage, step, total, elapsed, at: performance.now() });
  }
  change({ live });
}

/**
 * @param {Job} job
 * @returns {Live}
 */
function liveOf(job) {
  const known = now().live.get(job.id);
  return (
    known ?? { stage: "", step: 0, total: 0, elapsed: 0, at: 0, preview: null, position: job.queue_position }
  );
}

/**
 * Says so where it cannot be.
 * @param {Job} job
 */
export async function cancelJob(job) {
  try {
    learnJob(await api.cancel(job.id));
  } catch (error) {
    // It ended by itself meanwhile: the stream tells how.
    if (!(error instanceof Refused && error.status === 409)) sayWhy(error);
  }
}

/**
 * Sends a batch; again under the same key while the server cannot be reached, so that it is made once.
 * @param {FormData} body
 * @returns {Promise<Batch>}
 */
export async function send(body) {
  const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(LONGEST_WAIT_MS, wait * 1.6)) {
    try {
      const batch = await api.submit(body, key);
      change({ connection: "fine" });
      learn([batch]);
      return batch;
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      change({ connection: "lost" });
      await pause(wait);
    }
  }
}

/** @param {number} ms */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
