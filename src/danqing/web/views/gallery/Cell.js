// What there is to see of a job, in a square.
import { html } from "../../lib/html.js";
import { useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";
import { StoredPicture } from "../StoredPicture.js";

/** @param {{job: import("../../state/types.js").Job}} props */
export function Cell({ job }) {
  const forming = useStore((state) => state.live.get(job.id)?.preview ?? null);
  const picture = job.pictures.preview ?? job.pictures.original;
  if (picture) return html`<${StoredPicture} job=${job} picture=${picture} lazy=${true} alt="" />`;
  if (forming) return html`<img class="forming" src=${forming} alt="" />`;
  return html`<span class="no-picture" data-state=${job.state}>${job.state === "failed" && html`<${Icon} name="warning" />`}</span>`;
}
