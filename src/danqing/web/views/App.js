// The frame of every view.
import { html } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { useStore } from "../state/store.js";
import { GalleryView } from "./gallery/GalleryView.js";
import { MachineLater } from "./MachineLater.js";
import { MakeView } from "./make/MakeView.js";
import { ConnectionBar } from "./shell/ConnectionBar.js";
import { DropZone } from "./shell/DropZone.js";
import { Header } from "./shell/Header.js";
import { SignIn } from "./shell/SignIn.js";
import { Toasts } from "./shell/Toasts.js";
import { Viewer } from "./viewer/Viewer.js";

const VIEWS = { make: MakeView, gallery: GalleryView, machine: MachineLater };

export function App() {
  const route = useStore((state) => state.route);
  const signIn = useStore((state) => state.signIn);
  useStore((state) => state.settings.language);
  useStore((state) => state.said);
  if (signIn !== "no") return html`<${SignIn} />`;
  const View = VIEWS[route.view];
  return html`
    <a class="skip" href="#content" onClick=${skip}>${t("skip")}</a>
    <${Header} />
    ${!route.jobId && html`<${ConnectionBar} />`}
    <main id="content" tabindex="-1" class=${`view view-${route.view}`}>
      <${View} />
    </main>
    ${route.jobId ? html`<${Viewer} jobId=${route.jobId} />` : html`<${DropZone} /><${Toasts} />`}
  `;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("content")?.focus();
}
