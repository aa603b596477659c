// The pictures that were made together with one, to go from one to another.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { open } from "../../state/routes.js";
import { useStore } from "../../state/store.js";
import { Cell } from "../gallery/Cell.js";

/** @param {{job: import("../../state/types.js").Job}} props */
export function BatchStrip({ job }) {
  const batch = useStore((state) => state.batches.get(job.batch_id));
  const shown = batch?.jobs.filter((one) => one.pictures.original || one.id === job.id) ?? [];
  if (!batch || shown.length < 2) return null;
  const of = Math.max(batch.size, batch.jobs.length);
  return html`<nav class="strip" aria-label=${t("madeTogether")}>
    <ul>
      ${shown.map(
        (one) => html`<li key=${one.id}>
          <button
            type="button"
            class="batch"
            aria-label=${t("oneOf", { n: one.index + 1, of })}
            aria-current=${one.id === job.id ? "true" : null}
            onClick=${() => open(one.id)}
          >
            <${Cell} job=${one} />
          </button>
        </li>`,
      )}
    </ul>
  </nav>`;
}
