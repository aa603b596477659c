// Copies, and says so; where the browser does not let the page, the text is shown, to be copied by hand.
import { say } from "../state/toasts.js";
import { html, render } from "./html.js";
import { t } from "./i18n.js";

/** @param {string} text */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text); // which a page that came over plain http does not have
  } catch {
    if (!copiedFromSelection(text)) return show(text);
  }
  say(t("copied"));
}

/**
 * The old way, which needs no https.
 * @param {string} text
 */
function copiedFromSelection(text) {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.className = "unseen";
  area.value = text;
  // While a dialog is open, nothing outside of it can be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.focus({ preventScroll: true });
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  return isCopied;
}

/** @param {string} text */
function show(text) {
  const dialog = document.createElement("dialog");
  dialog.className = "by-hand";
  dialog.setAttribute("aria-label", t("copy"));
  dialog.addEventListener("close", () => dialog.remove());
  const content = html`<p>${t("notCopied")}</p>
    <textarea aria-label=${t("copy")} readonly rows="12" value=${text}></textarea>
    <button type="button" class="second-button" onClick=${() => dialog.close()}>${t("closeViewer")}</button>`;
  render(content, dialog);
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector("textarea")?.select();
}
