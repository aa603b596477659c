// Where nothing was made yet: what can be.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { fill } from "../../state/form.js";

const EXAMPLES = /** @type {const} */ (["example1", "example2", "example3"]);

export function EmptyStage() {
  return html`<section class="stage empty">
    <div class="empty-art" aria-hidden="true"><i></i><i></i><i></i></div>
    <h2>${t("emptyTitle")}</h2>
    <p>${t("emptyText")}</p>
    <div class="chips" role="group" aria-label=${t("tryThis")}>
      ${EXAMPLES.map(
        (word) => html`<button type="button" class="chip" onClick=${() => fill({ prompt: t(word), mode: "text2img" })}>${t(word)}</button>`,
      )}
    </div>
  </section>`;
}
