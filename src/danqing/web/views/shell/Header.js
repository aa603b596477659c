// The bar at the top: where to go, language, theme; on a phone the ways are at the bottom.
import * as api from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { change, now, useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";

const WAYS = /** @type {const} */ (["make", "gallery", "machine"]);
const THEMES = /** @type {const} */ (["system", "light", "dark"]);
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" };
const THEME_WORDS = /** @type {const} */ ({ system: "themeSystem", light: "themeLight", dark: "themeDark" });

export function Header() {
  const view = useStore((state) => state.route.view);
  const { theme, language } = useStore((state) => state.settings);
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
        <button class="round" type="button" lang=${language === "en" ? "zh-Hans" : "en"} title=${t("language")} aria-label=${t("language")} onClick=${switchLanguage}>
          ${language === "en" ? "文" : "En"}
        </button>
        <button class="round" type="button" title=${themeLabel(theme)} aria-label=${themeLabel(theme)} onClick=${switchTheme}>
          <${Icon} name=${THEME_ICONS[theme]} />
        </button>
        ${api.hasKey() &&
        html`<button class="round" type="button" title=${t("signOut")} aria-label=${t("signOut")} onClick=${signOut}>
          <${Icon} name="signOut" />
        </button>`}
      </div>
    </header>
  `;
}

/** @param {"system" | "light" | "dark"} theme */
function themeLabel(theme) {
  return t("theme", { theme: t(THEME_WORDS[theme]) });
}

function switchLanguage() {
  const { settings } = now();
  change({ settings: { ...settings, language: settings.language === "en" ? "zh" : "en" } });
}

function switchTheme() {
  const { settings } = now();
  const next = THEMES[(THEMES.indexOf(settings.theme) + 1) % THEMES.length] ?? "system";
  change({ settings: { ...settings, theme: next } });
}

function signOut() {
  api.signIn("", false);
  change({ signIn: "needed", caller: null, batches: new Map(), stageBatch: null, machine: null, keys: null });
}
