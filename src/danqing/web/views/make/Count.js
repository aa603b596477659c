// How many pictures.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { fill, MAX_COUNT } from "../../state/form.js";
import { useStore } from "../../state/store.js";

export function Count() {
  const count = useStore((state) => state.form.count);
  /** @param {number} next */
  const set = (next) => fill({ count: Math.min(MAX_COUNT, Math.max(1, next)) });
  return html`<div class="field">
    <label for="count">${t("count")}</label>
    <div class="joined stepper">
      <button type="button" aria-label="${t("count")} −1" disabled=${count <= 1} onClick=${() => set(count - 1)}>−</button>
      <input
        id="count"
        name="count"
        inputmode="numeric"
        value=${count}
        onChange=${(/** @type {any} */ event) => {
          set(Math.round(Number(event.target.value)) || 1);
          event.target.value = String(Math.min(MAX_COUNT, Math.max(1, Math.round(Number(event.target.value)) || 1)));
        }}
      />
      <button type="button" aria-label="${t("count")} +1" disabled=${count >= MAX_COUNT} onClick=${() => set(count + 1)}>+</button>
    </div>
  </div>`;
}
