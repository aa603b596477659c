// How far a picture on its way is, with a button to cancel it.
import { html } from "../../lib/html.js";
import { duration, t } from "../../lib/i18n.js";
import { cancelJob } from "../../state/batches.js";
import { Icon } from "../Icon.js";

/**
 * @param {{job: import("../../state/types.js").Job, live: import("../../state/types.js").Live | null}} props
 */
export function Going({ job, live }) {
  const share = live?.total ? live.step / live.total : 0;
  const place = live?.position ?? job.queue_position;
  const enlarges = live?.stage === "upscaling" || job.request.mode === "upscale";
  const left = live && live.step > 0 ? (live.elapsed / live.step) * (live.total - live.step) : null;
  const progress = { "--share": share };
  let words = t("processing");
  if (job.state === "pending") words = place > 0 ? t("pendingAt", { n: place }) : t("pending");
  else if (live?.total) {
    words = t(enlarges ? "partOf" : "stepOf", { step: live.step, total: live.total });
  } else words = t(job.state === "generated" || enlarges ? "generated" : "starting");
  return html`<div class="going">
    <div class="going-words">
      <p>${words}${left !== null && live && live.step < live.total && html`<span>${t("left", { time: duration(Math.max(1, left)) })}</span>`}</p>
      ${job.attempts > 1 && html`<p><span>${t("attempt", { n: job.attempts })}</span></p>`}
    </div>
    ${job.state !== "generated" &&
    html`<button type="button" class="plain-button on-dark" aria-label=${t("cancel")} onClick=${() => void cancelJob(job)}>
      <${Icon} name="close" /><span>${t("cancel")}</span>
    </button>`}
    <div
      class="step-bar"
      role="progressbar"
      aria-label=${t("steps")}
      aria-valuemin="0"
      aria-valuemax=${live?.total || 1}
      aria-valuenow=${live?.step ?? 0}
      style=${progress}
    ></div>
  </div>`;
}
