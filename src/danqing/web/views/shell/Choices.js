// The language and the theme, each switched with a button.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { change, now, useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";

const THEMES = /** @type {const} */ (["system", "light", "dark"]);
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" };
const THEME_WORDS = /** @type {const} */ ({ system: "themeSystem", light: "themeLight", dark: "themeDark" });

export function Choices() {
  const { theme, language } = useStore((state) => state.settings);
  const themeLabel = t("theme", { theme: t(THEME_WORDS[theme]) });
  return html`
    <button class="round" type="button" lang=${language === "en" ? "zh-Hans" : "en"} title=${t("language")} aria-label=${t("language")} onClick=${switchLanguage}>
      ${language === "en" ? "文" : "En"}
    </button>
    <button class="round" type="button" title=${themeLabel} aria-label=${themeLabel} onClick=${switchTheme}>
      <${Icon} name=${THEME_ICONS[theme]} />
    </button>
  `;
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
