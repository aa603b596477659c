// Whom the page talks to: finds the server and what it has, again whenever it is lost; signs in and out.
import { Refused } from "../lib/api.js";
import * as api from "../lib/api.js";
import { keepKey } from "../lib/kept.js";
import { keepPictures } from "../lib/kept_pictures.js";
import { pause } from "./batches.js";
import { EMPTY_FORM, modelMeant } from "./form.js";
import { EMPTY_GALLERY, finishRemoving, refresh } from "./gallery.js";
import { close } from "./routes.js";
import { change, listen, now } from "./store.js";
import { sayWhy } from "./toasts.js";

const REFRESH_MS = 20 * 60 * 1000; // addresses of pictures are good for an hour
const RETRY_MS = 2000;
const LOADING_MS = 5000;
let timer = 0;

/** Reads what the server has, and goes on looking for it wherever it is lost. */
export function stayIn() {
  let wasLost = false;
  listen(() => {
    const isLost = now().connection === "lost";
    const isNew = isLost && !wasLost;
    wasLost = isLost;
    if (isNew) void pause(RETRY_MS).then(enter);
  });
  setInterval(() => void enter(), REFRESH_MS);
  void enter();
}

/** Again and again until the server answers, or asks for a key. */
async function enter() {
  if (now().entering) return;
  change({ entering: true });
  while (!(await answers())) await pause(RETRY_MS);
  change({ entering: false });
  const { signIn, form, models } = now();
  if (signIn !== "no") return;
  if (!modelMeant(form, models)) change({ form: { ...form, mode: "text2img" } });
  finishRemoving();
  await refresh();
}

/** Whether it does, be it that it asks for a key. Looks again while it loads models. */
async function answers() {
  try {
    const { models, upscaler, caller } = await api.models();
    // The same ones again draw nothing anew: who types a number would lose it.
    const isSame = JSON.stringify(models) === JSON.stringify(now().models);
    change({ models: isSame ? now().models : models, upscaler, caller, signIn: "no", connection: "fine" });
    clearTimeout(timer);
    if (models.some((model) => !model.loaded)) timer = setTimeout(() => void answers(), LOADING_MS);
    return true;
  } catch (error) {
    const asksForKey = error instanceof Refused && error.status === 401;
    if (asksForKey) sayWhy(error);
    else change({ connection: "lost" });
    return asksForKey;
  }
}

/**
 * What was typed stays; what was read is read again, for it may be another person.
 * @param {string} key
 * @param {boolean} stay whether this browser keeps it
 */
export function signIn(key, stay) {
  api.signIn(key, stay);
  const gallery = { ...EMPTY_GALLERY, filter: now().gallery.filter };
  change({ batches: new Map(), live: new Map(), stageBatch: null, gallery, machine: null, keys: null });
  void enter();
}

/** Leaves nothing of the person in this browser. What is typed into the sign-in is typed after the page was loaded anew. */
export async function signOut() {
  keepKey("", false); // this page has it until it is gone, and does not ask for one meanwhile
  change({ form: EMPTY_FORM, inputs: [], mask: null, control: null });
  await keepPictures({ inputs: [], mask: null, control: null });
  close();
  location.reload();
}
