// The pictures that a request starts from: brought in from the disk, the clipboard, or the gallery.
import * as api from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { keepPictures, keptPictures } from "../lib/kept_pictures.js";
import { fetched } from "../lib/later.js";
import { pictureOf } from "../lib/pictures.js";
import { choose, fill, modelMeant, modesOnOffer, mostInputs, reuse } from "./form.js";
import { go } from "./routes.js";
import { change, listen, now, until } from "./store.js";
import { say, sayWhy } from "./toasts.js";

/** @typedef {import("./types.js").InputPicture} InputPicture */
/** @typedef {import("./types.js").Job} Job */

/** Brings back the pictures of the last visit, and keeps those of this one. */
export async function rememberInputs() {
  const kept = await keptPictures();
  if (kept && now().inputs.length === 0) {
    const inputs = await Promise.all(kept.inputs.map(pictureOf)).catch(() => []);
    const control = kept.control ? await pictureOf(kept.control).catch(() => null) : null;
    // One that was added meanwhile is the newer one.
    if (now().inputs.length === 0) change({ inputs, mask: inputs.length ? kept.mask : null, control });
  }
  let known = now();
  listen(() => {
    const { inputs, mask, control } = now();
    if (inputs === known.inputs && mask === known.mask && control === known.control) return;
    known = now();
    void keepPictures({ inputs: inputs.map((one) => one.blob), mask, control: control?.blob ?? null });
  });
}

/**
 * Adds pictures to those of the mode; where there is room for one only, the newest counts.
 * @param {Blob[]} blobs
 */
export async function addInputs(blobs) {
  const pictures = await readable(blobs);
  const { form, models } = now();
  const most = mostInputs(form.mode, modelMeant(form, models));
  const all = most === 1 ? pictures.slice(-1) : [...now().inputs, ...pictures];
  if (all.length > most) say(t("tooMany", { n: most }), { kind: "error" });
  if (pictures.length) setInputs(all.slice(0, most));
}

/** @param {InputPicture[]} inputs */
export function setInputs(inputs) {
  const isOther = inputs[0]?.id !== now().inputs[0]?.id;
  const left = now().inputs.filter((one) => !inputs.includes(one));
  change({ inputs, mask: isOther ? null : now().mask });
  for (const one of left) URL.revokeObjectURL(one.url);
}

/** @param {Blob[]} blobs */
export async function setControl(blobs) {
  const [control] = (await readable(blobs)).slice(-1);
  if (!control) return;
  change({ control });
  fill({ preprocess: false });
}

/**
 * A picture from anywhere: its settings fill the form if it tells them; else it is an input.
 * @param {Blob[]} blobs
 */
export async function takeIn(blobs) {
  const [blob] = blobs;
  if (!blob) return;
  await until(({ models }) => models); // which say what they take
  const told = blobs.length === 1 ? await settingsIn(blob) : null;
  go("make");
  if (told) {
    reuse(told.said);
    const action = { label: t("asInputInstead"), run: () => void asInput(blobs) };
    say(t("filledFrom", { by: told.by }), { action });
    return;
  }
  await asInput(blobs);
}

/** @param {Blob} blob */
async function settingsIn(blob) {
  try {
    const { madeHow } = await fetched(import("../lib/metadata.js"));
    return await madeHow(blob);
  } catch (error) {
    sayWhy(error);
    return null;
  }
}

/**
 * Begins with these pictures, in a mode that takes one.
 * @param {Blob[]} blobs
 */
export async function asInput(blobs) {
  const { form } = now();
  const offered = modesOnOffer();
  if (form.mode === "text2img") {
    const mode = blobs.length > 1 && offered.includes("edit") ? "edit" : offered.find((one) => one !== "text2img");
    if (mode) choose({ mode });
  }
  go("make");
  await addInputs(blobs);
}

let reused = 0;

/**
 * The form as the job was asked for, its pictures included. Of two the newest counts, whichever is there last.
 * @param {Job} job
 */
export async function reuseJob(job) {
  const mine = ++reused;
  const { input_images: images, mask, control_image: control } = job.inputs;
  // An edit with a mask, as OpenAI's clients ask for it, is a fill; here only that has a mask to paint.
  const isFill = mask && job.request.mode === "edit" && images.length === 1 && modesOnOffer().includes("fill");
  reuse(isFill ? { ...job.request, mode: "fill" } : job.request);
  go("make");
  const [inputs, painted, lines] = await Promise.all([
    Promise.all(images.map(async (image) => pictureOf(await api.picture(image.url)))),
    mask ? api.picture(mask.url) : null,
    control && !now().form.preprocess ? api.picture(control.url).then(pictureOf) : null,
  ]);
  if (mine === reused) change({ inputs, mask: painted, control: lines });
}

let painting = Promise.resolve();

/**
 * The mask is being made; the newest is the last one to be ready.
 * @param {Promise<void>} work
 */
export function paints(work) {
  painting = work.catch(sayWhy);
}

/** Waits until the mask is what was painted. */
export function painted() {
  return painting;
}

/** @param {Blob[]} blobs */
async function readable(blobs) {
  const pictures = [];
  for (const blob of blobs) {
    try {
      pictures.push(await pictureOf(blob));
    } catch {
      say(t("notAPicture"), { kind: "error" });
    }
  }
  return pictures;
}
