// Make pictures: the form beside what comes of it.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { Form } from "./Form.js";
import { Recent } from "./Recent.js";
import { Stage } from "./Stage.js";

export function MakeView() {
  return html`<div class="make">
    <h1 class="unseen">${t("make")}</h1>
    <${Form} />
    <section class="outcome">
      <${Stage} />
      <${Recent} />
    </section>
  </div>`;
}
