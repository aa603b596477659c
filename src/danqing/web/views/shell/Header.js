// The bar at the top: where to go, language, theme; on a phone the ways are at the bottom.
import * as api from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { signOut } from "../../state/session.js";
import { useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";
import { Choices } from "./Choices.js";

const WAYS = /** @type {const} */ (["make", "gallery", "machine"]);

export function Header() {
  const view = useStore((state) => state.route.view);
  const busy = useStore((state) => state.live.size);
  return html`
    <header class="bar">
      <a class="brand" href="#/make"><span class="seal" aria-hidden="true">丹</span><span>${t("appName")}</span></a>
      <nav class="ways" aria-label=${t("views")}>
        ${WAYS.map(
          (way) => html`<a href=${`#/${way}`} aria-current=${way === view ? "page" : null}>
            <${Icon} name=${way} /><span>${t(way)}</span>
            ${way === "make" && busy > 0 && html`<span class="busy" aria-hidden="true">${busy}</span>`}
          </a>`,
        )}
      </nav>
      <div class="tools">
        <a class="quiet api" href="docs">${t("apiDocs")}</a>
        <${Choices} />
        ${api.hasKey() &&
        html`<button class="round" type="button" title=${t("signOut")} aria-label=${t("signOut")} onClick=${signOut}>
          <${Icon} name="signOut" />
        </button>`}
      </div>
    </header>
  `;
}
