// What became of a picture that is none: it failed, or was cancelled.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { saidOf } from "../../lib/said.js";
import { makeAgain } from "../../state/submitting.js";
import { Icon } from "../Icon.js";

/** @param {{job: import("../../state/types.js").Job}} props */
export function Ended({ job }) {
  return html`<div class="ended">
    ${job.state === "failed" && html`<${Icon} name="warning" />`}
    <strong>${t(job.state === "failed" ? "failed" : "cancelled")}</strong>
    ${job.failure && html`<p>${saidOf(job.failure)}</p>`}
    <button type="button" class="plain-button" onClick=${() => void makeAgain(job, {})}>${t("again")}</button>
  </div>`;
}
