// A batch as one square: its picture, or up to four of them; how many there are; what it waits for.
import { classes, html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { isOver } from "../../state/batches.js";
import { useStore } from "../../state/store.js";
import { StoredPicture } from "../StoredPicture.js";
import { Icon } from "../Icon.js";

const SHOWN = 4;

/**
 * @param {{batch: import("../../state/types.js").Batch, current?: boolean, choose: (jobId: string) => void}} props
 */
export function BatchTile({ batch, current = false, choose }) {
  const { jobs } = batch;
  const shown = jobs.slice(0, SHOWN);
  const under = jobs.filter((job) => !isOver(job)).length;
  const first = jobs.find((job) => job.pictures.original) ?? jobs[0];
  const label = t("pictureOf", { prompt: jobs[0]?.request.prompt ?? "" });
  return html`<button
    type="button"
    class=${classes("batch", shown.length > 1 && "several")}
    aria-label=${jobs.length > 1 ? `${label}, ${t("batchOf", { n: jobs.length })}` : label}
    aria-current=${current ? "true" : null}
    data-batch=${batch.id}
    title=${jobs[0]?.request.prompt}
    onClick=${() => first && choose(first.id)}
  >
    ${shown.map((job) => html`<${Cell} key=${job.id} job=${job} />`)}
    ${jobs.length > SHOWN && html`<span class="badge"><${Icon} name="stack" />${jobs.length}</span>`}
    ${under > 0 && html`<span class="pulse" aria-hidden="true"></span>`}
  </button>`;
}

/** @param {{job: import("../../state/types.js").Job}} props */
function Cell({ job }) {
  const forming = useStore((state) => state.live.get(job.id)?.preview ?? null);
  const picture = job.pictures.preview ?? job.pictures.original;
  if (picture) return html`<${StoredPicture} job=${job} picture=${picture} lazy=${true} alt="" />`;
  if (forming) return html`<img class="forming" src=${forming} alt="" />`;
  return html`<span class="no-picture" data-state=${job.state}>${job.state === "failed" && html`<${Icon} name="warning" />`}</span>`;
}
