// One picture on its way: its place in the queue, its steps and what it looks like so far, then itself.
import { useFocusKept } from "../../lib/focus.js";
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { isOver } from "../../state/batches.js";
import { open } from "../../state/routes.js";
import { useStore } from "../../state/store.js";
import { StoredPicture } from "../StoredPicture.js";
import { titleOf } from "../titles.js";
import { Ended } from "./Ended.js";
import { Going } from "./Going.js";

/** @param {{job: import("../../state/types.js").Job}} props */
export function JobTile({ job }) {
  const tile = useFocusKept();
  const live = useStore((state) => state.live.get(job.id) ?? null);
  const shape = { aspectRatio: `${job.request.width} / ${job.request.height}` };
  const picture = job.pictures.original;
  return html`<div ref=${tile} class="tile" tabindex="-1" data-state=${job.state} data-job=${job.id} style=${shape}>
    ${picture
      ? html`<button type="button" class="tile-picture" aria-label=${t("pictureOf", { prompt: titleOf(job) })} onClick=${() => open(job.id)}>
          <${StoredPicture} job=${job} picture=${picture} />
        </button>`
      : live?.preview
        ? html`<img class="forming" src=${live.preview} alt="" />`
        : html`<div class="waiting-art" aria-hidden="true"></div>`}
    ${!isOver(job) ? html`<${Going} job=${job} live=${live} />` : job.state !== "completed" && html`<${Ended} job=${job} />`}
  </div>`;
}
