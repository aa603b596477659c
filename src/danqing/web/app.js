// Starts the page: what was kept from the last visit, what the server has, then the views.
import { Refused } from "./lib/api.js";
import * as api from "./lib/api.js";
import { html, render } from "./lib/html.js";
import { preferred } from "./lib/i18n.js";
import { keep, kept } from "./lib/kept.js";
import { fetchWords } from "./lib/said.js";
import { EMPTY_FORM, modelMeant } from "./state/form.js";
import { finishRemoving, NO_FILTER, refresh } from "./state/gallery.js";
import { rememberInputs } from "./state/inputs.js";
import { routeOf, watchAddress } from "./state/routes.js";
import { begin, change, listen, now } from "./state/store.js";
import { App } from "./views/App.js";

const REFRESH_MS = 20 * 60 * 1000; // addresses of pictures are good for an hour
const RETRY_MS = 2000;

begin({
  settings: kept("settings", { theme: "system", language: preferred(), stayTaught: false }),
  route: routeOf(location.hash),
  connection: "fine",
  signIn: "no",
  caller: null,
  models: null,
  upscaler: null,
  form: kept("form", EMPTY_FORM),
  inputs: [],
  mask: null,
  control: null,
  submitting: false,
  stageBatch: null,
  batches: new Map(),
  live: new Map(),
  gallery: { ids: [], next: 0, loading: false, failed: false, filter: NO_FILTER, known: false },
  removing: new Set(),
  keys: null,
  machine: null,
  toasts: [],
  said: null,
});

/** Reads what the server has; again and again until it answers, or asks for a key. */
export async function enter() {
  for (;;) {
    try {
      const { models, upscaler, caller } = await api.models();
      change({ models, upscaler, caller, signIn: "no", connection: "fine" });
      if (!modelMeant(now().form, models)) change({ form: { ...now().form, mode: "text2img" } });
      finishRemoving();
      await refresh();
      return;
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        change({ signIn: api.hasKey() ? "refused" : "needed" });
        return;
      }
      change({ connection: "lost" });
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

let keptForm = now().form;
let keptSettings = now().settings;
let lost = false;
listen(() => {
  const { form, settings, connection } = now();
  if (form !== keptForm) keep("form", (keptForm = form));
  if (settings !== keptSettings) {
    keep("settings", (keptSettings = settings));
    show(settings);
  }
  const isBack = lost && connection === "fine";
  lost = connection === "lost"; // before anything that changes the state, and so comes here again
  if (isBack) void refresh();
});

/** @param {import("./state/store.js").Settings} settings */
function show({ theme, language }) {
  const root = document.documentElement;
  root.lang = language === "zh" ? "zh-Hans" : "en";
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
}

show(now().settings);
watchAddress();
setInterval(() => void refresh(), REFRESH_MS);
render(html`<${App} enter=${enter} />`, /** @type {Element} */ (document.getElementById("app")));
void rememberInputs();
fetchWords().catch(() => undefined); // without them errors are told in the server's own words
void enter();
