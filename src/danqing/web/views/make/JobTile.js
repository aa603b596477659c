// One picture on its way: its place in the queue, its steps and what it looks like so far, then itself.
import { html } from "../../lib/html.js";
import { duration, t } from "../../lib/i18n.js";
import { saidOf } from "../../lib/said.js";
import { cancelJob, isOver } from "../../state/batches.js";
import { open } from "../../state/routes.js";
import { useStore } from "../../state/store.js";
import { makeAgain } from "../../state/submitting.js";
import { StoredPicture } from "../StoredPicture.js";
import { Icon } from "../Icon.js";
import { titleOf } from "../titles.js";

/** @typedef {import("../../state/types.js").Job} Job */
/** @typedef {import("../../state/types.js").Live} Live */

/** @param {{job: Job}} props */
export function JobTile({ job }) {
  const live = useStore((state) => state.live.get(job.id) ?? null);
  const shape = { aspectRatio: `${job.request.width} / ${job.request.height}` };
  const picture = job.pictures.original;
  return html`<div class="tile" data-state=${job.state} data-job=${job.id} style=${shape}>
    ${picture
      ? html`<button type="button" class="tile-picture" aria-label=${t("pictureOf", { prompt: titleOf(job) })} onClick=${() => open(job.id)}>
          <${StoredPicture} job=${job} picture=${picture} />
        </button>`
      : live?.preview
        ? html`<img class="forming" src=${live.preview} alt="" />`
        : html`<div class="waiting-art" aria-hidden="true"></div>`}
    ${isOver(job) ? html`<${Ended} job=${job} />` : html`<${Going} job=${job} live=${live} />`}
  </div>`;
}

/** @param {{job: Job, live: Live | null}} props */
function Going({ job, live }) {
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

/** @param {{job: Job}} props */
function Ended({ job }) {
  if (job.state === "completed") return null;
  return html`<div class="ended">
    ${job.state === "failed" && html`<${Icon} name="warning" />`}
    <strong>${t(job.state === "failed" ? "failed" : "cancelled")}</strong>
    ${job.failure && html`<p>${saidOf(job.failure)}</p>`}
    <button type="button" class="plain-button" onClick=${() => void makeAgain(job, {})}>${t("again")}</button>
  </div>`;
}
