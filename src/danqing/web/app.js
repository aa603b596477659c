// Starts the page: what was kept from the last visit, what the server has, then the views.
import { html, render } from "./lib/html.js";
import { preferred } from "./lib/i18n.js";
import { keep, kept } from "./lib/kept.js";
import { fetchWords } from "./lib/said.js";
import { EMPTY_FORM } from "./state/form.js";
import { EMPTY_GALLERY } from "./state/gallery.js";
import { rememberInputs } from "./state/inputs.js";
import { routeOf, watchAddress } from "./state/routes.js";
import { stayIn } from "./state/session.js";
import { begin, listen, now } from "./state/store.js";
import { App } from "./views/App.js";

const LATER = [
  () => import("./lib/edges.js"),
  () => import("./lib/metadata.js"),
  () => import("./lib/snippets.js"),
  () => import("./views/machine/MachineView.js"),
];

begin({
  settings: kept("settings", { theme: "system", language: preferred(), stayTaught: false }),
  route: routeOf(location.hash),
  connection: "fine",
  entering: false,
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
  gallery: EMPTY_GALLERY,
  removing: new Set(),
  keys: null,
  machine: null,
  toasts: [],
  said: null,
});

let keptForm = now().form;
let keptSettings = now().settings;
listen(() => {
  const { form, settings } = now();
  if (form !== keptForm) keep("form", (keptForm = form));
  if (settings !== keptSettings) {
    keep("settings", (keptSettings = settings));
    show(settings);
  }
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
render(html`<${App} />`, /** @type {Element} */ (document.getElementById("app")));
void rememberInputs();
stayIn();
fetchWords().catch(() => undefined); // without them errors are told in the server's own words
for (const fetch of LATER) fetch().catch(() => undefined); // so that they are there when the server is not
