// The gallery: pages of the history, and pictures that are removed after a moment to think better of it.
import { Refused, Unreachable } from "../lib/api.js";
import * as api from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { keep, kept } from "../lib/kept.js";
import { saidOf } from "../lib/said.js";
import { bringBack, cancelJob, forgetJob, isOver, learn, mayCancel } from "./batches.js";
import { change, now } from "./store.js";
import { say, sayWhy } from "./toasts.js";

/** @typedef {import("./types.js").Job} Job */

const PAGE = 100;
const UNDO_MS = 8000;
export const NO_FILTER = { text: "", model: "", mode: "" };
export const EMPTY_GALLERY = {
  ids: /** @type {string[]} */ ([]),
  next: /** @type {number | null} */ (0),
  loading: false,
  failed: false,
  filter: NO_FILTER,
  known: false,
};

let asked = 0;
let puts = 0; // batches of this page so far

/**
 * Begins again with the newest.
 * @param {import("./store.js").Filter} filter
 */
export async function show(filter) {
  change({ gallery: { ...now().gallery, ids: [], next: 0, loading: false, failed: false, filter } });
  await more();
}

/** Another page, if there is one. */
export async function more() {
  const { gallery } = now();
  if (gallery.loading || gallery.next === null) return;
  const mine = ++asked;
  change({ gallery: { ...gallery, loading: true, failed: false } });
  try {
    const page = await api.batches(gallery.filter, gallery.next, PAGE);
    if (mine !== asked) return;
    learn(page.batches);
    const seen = new Set(now().gallery.ids);
    const ids = [...now().gallery.ids, ...page.batches.map((batch) => batch.id).filter((id) => !seen.has(id))];
    const next = page.next_offset;
    change({ gallery: { ...now().gallery, ids, next, loading: false, known: true }, connection: "fine" });
  } catch (error) {
    if (mine !== asked) return;
    change({ gallery: { ...now().gallery, loading: false, failed: true } });
    note(error);
  }
}

/**
 * Of something that the page asked for by itself.
 * @param {unknown} error
 */
export function note(error) {
  if (error instanceof Unreachable) change({ connection: "lost" });
  else sayWhy(error);
}

/**
 * A new batch of this page comes first, whatever is looked for.
 * @param {string} batchId
 */
export function put(batchId) {
  puts += 1;
  const { gallery } = now();
  const ids = [batchId, ...gallery.ids.filter((id) => id !== batchId)];
  change({ gallery: { ...gallery, ids, next: gallery.next === null ? null : gallery.next + 1 } });
}

/**
 * Looks again at the newest page: what others made, addresses that have run out, jobs of a server that was restarted.
 */
export async function refresh() {
  const { gallery } = now();
  const before = puts;
  if (!gallery.known) return show(gallery.filter);
  try {
    const page = await api.batches(gallery.filter, 0, PAGE);
    if (now().gallery.filter !== gallery.filter) return; // something else is looked for by now
    if (puts !== before) return refresh(); // the answer may be of before
    learn(page.batches);
    const known = new Set(gallery.ids);
    const fresh = page.batches.map((batch) => batch.id);
    const added = fresh.filter((id) => !known.has(id)).length;
    const isFar = added === fresh.length; // nothing in common: there may be more in between
    const rest = isFar ? [] : gallery.ids.filter((id) => !fresh.includes(id));
    const next = isFar || gallery.next === null ? (isFar ? page.next_offset : null) : gallery.next + added;
    change({ gallery: { ...now().gallery, ids: [...fresh, ...rest], next, failed: false }, connection: "fine" });
  } catch (error) {
    note(error);
  }
}

/** @typedef {{job: Job, batch: import("./types.js").Batch | undefined}} Removed */

/** @type {Map<string, number>} jobs that are about to be removed, and their timers */
const timers = new Map();
/** @type {Set<string>} jobs that the server was asked to remove, and has not said yet: too late to undo */
const going = new Set();
/** @type {Removed[]} what the note at the edge of the page can undo */
let undoable = [];

/**
 * Takes a job off the page at once, and off the server if nobody undoes it for a while. Those that are removed soon
 * after one another are undone together. False: it has not ended, and stays; a note says so.
 * @param {Job} job
 */
export function removeSoon(job) {
  if (!isOver(job)) {
    notRemovedYet(job);
    return false;
  }
  undoable = [...undoable, { job, batch: now().batches.get(job.batch_id) }];
  change({ removing: new Set(now().removing).add(job.id) });
  forgetJob(job.id);
  for (const one of undoable) {
    clearTimeout(timers.get(one.job.id));
    timers.set(one.job.id, setTimeout(() => void removeNow(one.job.id), UNDO_MS));
  }
  keepTimers();
  const text = undoable.length > 1 ? t("removedSeveral", { n: undoable.length }) : t("removed");
  say(text, { action: { label: t("undo"), run: undoRemoving }, instead: "removed" });
  return true;
}

/** @param {Job} job one that has not ended */
function notRemovedYet(job) {
  const cancel = { label: t("cancel"), run: () => void cancelJob(job) };
  if (mayCancel(job)) say(t("notRemovedWhileMade"), { action: cancel, instead: "not-removed" });
  else say(t("notRemovedWhileEnlarged"), { instead: "not-removed" });
}

function undoRemoving() {
  const back = undoable;
  undoable = [];
  for (const { job } of back) {
    clearTimeout(timers.get(job.id));
    timers.delete(job.id);
  }
  keepTimers();
  showAgain(back);
}

/** @param {Removed[]} back */
function showAgain(back) {
  const removing = new Set(now().removing);
  for (const { job } of back) removing.delete(job.id);
  change({ removing });
  for (const { job, batch } of back) bringBack(job, batch);
}

/**
 * Its id stays in `removing` once it is gone: an answer that is still on its way may tell of it.
 * @param {string} id
 */
async function removeNow(id) {
  const removed = undoable.find((one) => one.job.id === id);
  undoable = undoable.filter((one) => one.job.id !== id);
  timers.delete(id);
  going.add(id);
  keepTimers();
  try {
    await api.remove(id);
  } catch (error) {
    if (!(error instanceof Refused)) return note(error); // and it is tried again once the server is back
    if (error.status !== 404) return notRemoved(id, removed, error);
  }
  going.delete(id);
  keepTimers();
  const { gallery, batches } = now();
  if (gallery.next && removed && !batches.has(removed.job.batch_id)) change({ gallery: { ...gallery, next: gallery.next - 1 } });
}

/**
 * The server keeps it, and says why.
 * @param {string} id
 * @param {Removed | undefined} removed undefined: at an earlier visit
 * @param {Refused} error
 */
function notRemoved(id, removed, error) {
  going.delete(id);
  keepTimers();
  if (error.status === 401) sayWhy(error);
  else say(t("notRemoved", { why: saidOf(error) }), { kind: "error" });
  if (removed) return showAgain([removed]);
  const removing = new Set(now().removing);
  removing.delete(id);
  change({ removing });
  if (now().gallery.known) void refresh();
}

function keepTimers() {
  keep("removing", { ids: [...timers.keys(), ...going] });
}

/** What an earlier visit was about to remove, and what this one could not while the server was away. */
export function finishRemoving() {
  const { ids: noted } = kept("removing", { ids: /** @type {string[]} */ ([]) });
  const ids = noted.filter((id) => !timers.has(id));
  change({ removing: new Set([...now().removing, ...ids]) });
  for (const id of ids) going.add(id);
  for (const id of ids) void removeNow(id);
}
