// The batch that is being made, or was made last.
import { useFocusKept } from "../../lib/focus.js";
import { html, useEffect } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { cancelJob, isOver } from "../../state/batches.js";
import { useStore } from "../../state/store.js";
import { titleOf } from "../titles.js";
import { EmptyStage } from "./EmptyStage.js";
import { JobTile } from "./JobTile.js";
import { StageStatus } from "./StageStatus.js";

export function Stage() {
  const batches = useStore((state) => state.batches);
  const chosen = useStore((state) => state.stageBatch);
  const newest = useStore((state) => state.gallery.ids[0] ?? null);
  const known = useStore((state) => state.gallery.known);
  const batch = batches.get(chosen ?? newest ?? "");
  const stage = useFocusKept();
  useEffect(() => {
    // Where the form is above the stage, what was just asked for would be out of sight.
    if (chosen && matchMedia("(max-width: 960px)").matches) {
      document.querySelector(".stage")?.scrollIntoView({ behavior: "smooth", block: "start" });
    }
  }, [chosen]);
  if (!batch) return known ? html`<${EmptyStage} />` : html`<div class="stage"></div>`;
  const running = batch.jobs.filter((job) => !isOver(job));
  const shape = batch.jobs[0]?.request ?? { width: 1, height: 1 };
  const wide = shape.width / shape.height;
  const { columns, rows } = gridFor(batch.jobs.length, wide);
  const measures = { "--columns": columns, "--rows": rows, "--wide": wide };
  return html`<section ref=${stage} class="stage" tabindex="-1" aria-label=${t("batchOf", { n: batch.jobs.length })} data-batch=${batch.id}>
    <${StageStatus} batch=${batch} />
    <div class="stage-grid" style=${measures}>
      ${batch.jobs.map((job) => html`<${JobTile} key=${job.id} job=${job} />`)}
    </div>
    <footer class="stage-foot">
      <p>${batch.jobs[0] && titleOf(batch.jobs[0])}</p>
      ${running.length > 1 &&
      html`<button type="button" class="plain-button" onClick=${() => running.forEach((job) => void cancelJob(job))}>${t("cancelAll")}</button>`}
    </footer>
  </section>`;
}

/**
 * As many columns as make the pictures largest on a stage that is a little wider than high.
 * @param {number} count
 * @param {number} wide
 */
function gridFor(count, wide) {
  let best = { columns: 1, rows: count, side: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const side = Math.min((1.3 / columns) * (1 / wide), 1 / rows);
    if (side > best.side) best = { columns, rows, side };
  }
  return best;
}
