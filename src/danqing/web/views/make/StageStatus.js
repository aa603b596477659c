// Tells those who do not see the stage what has become of its pictures, as it happens.
import { html, useRef } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { saidOf } from "../../lib/said.js";
import { isOver } from "../../state/batches.js";

/** @param {{batch: import("../../state/types.js").Batch}} props */
export function StageStatus({ batch }) {
  const awaited = useRef(""); // what had ended before it was looked at is no news
  if (batch.jobs.some((job) => !isOver(job))) awaited.current = batch.id;
  const told = awaited.current === batch.id ? toldOf(batch.jobs) : [];
  return html`<div class="unseen" role="status">${told.map((words) => html`<p>${words}</p>`)}</div>`;
}

/** @param {import("../../state/types.js").Job[]} jobs */
function toldOf(jobs) {
  const done = jobs.filter((job) => job.state === "completed").length;
  const cancelled = jobs.filter((job) => job.state === "cancelled").length;
  const failures = new Set(jobs.flatMap((job) => (job.failure ? [saidOf(job.failure)] : [])));
  return [
    ...(done ? [t("doneOf", { n: done, of: jobs.length })] : []),
    ...[...failures].map((why) => t("failedWhy", { why })),
    ...(cancelled ? [t("cancelledCount", { n: cancelled })] : []),
  ];
}
