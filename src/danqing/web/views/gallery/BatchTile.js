// A batch as one square: its picture, or up to four of them; how many there are; what it waits for.
import { classes, html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { isOver } from "../../state/batches.js";
import { Icon } from "../Icon.js";
import { titleOf } from "../titles.js";
import { Cell } from "./Cell.js";

const SHOWN = 4;

/**
 * @param {{batch: import("../../state/types.js").Batch, current?: boolean, choose: (jobId: string) => void}} props
 */
export function BatchTile({ batch, current = false, choose }) {
  const { jobs } = batch;
  const shown = jobs.slice(0, SHOWN);
  const under = jobs.filter((job) => !isOver(job)).length;
  const first = jobs.find((job) => job.pictures.original) ?? jobs[0];
  const title = jobs[0] ? titleOf(jobs[0]) : "";
  const label = t("pictureOf", { prompt: title });
  return html`<button
    type="button"
    class=${classes("batch", shown.length > 1 && "several")}
    aria-label=${jobs.length > 1 ? `${label}, ${t("batchOf", { n: jobs.length })}` : label}
    aria-current=${current ? "true" : null}
    data-batch=${batch.id}
    title=${title}
    onClick=${() => first && choose(first.id)}
  >
    ${shown.map((job) => html`<${Cell} key=${job.id} job=${job} />`)}
    ${jobs.length > SHOWN && html`<span class="badge"><${Icon} name="stack" />${jobs.length}</span>`}
    ${under > 0 && html`<span class="pulse" aria-hidden="true"></span>`}
  </button>`;
}
