// A picture of the gallery as a square, or one that is on its way.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { isOver } from "../../state/batches.js";
import { removeSoon } from "../../state/gallery.js";
import { open } from "../../state/routes.js";
import { Icon } from "../Icon.js";
import { titleOf } from "../titles.js";
import { Cell } from "./Cell.js";

/**
 * of: how many its batch has.
 * @param {{job: import("../../state/types.js").Job, of: number}} props
 */
export function PictureTile({ job, of }) {
  const title = titleOf(job);
  const label = t("pictureOf", { prompt: title });
  const isEnded = isOver(job);
  return html`<button
      type="button"
      class="batch picture"
      aria-label=${of > 1 ? `${label}, ${t("oneOf", { n: job.index + 1, of })}` : label}
      aria-keyshortcuts=${isEnded ? "Delete" : null}
      data-job=${job.id}
      title=${title}
      onClick=${() => open(job.id)}
    >
      <${Cell} job=${job} />
      ${of > 1 && html`<span class="badge" aria-hidden="true">${job.index + 1}/${of}</span>`}
      ${!isEnded && html`<span class="pulse" aria-hidden="true"></span>`}
    </button>
    ${isEnded &&
    html`<button type="button" class="round small on-picture remove" tabindex="-1" aria-label=${`${t("remove")}: ${title}`} title=${t("remove")} onClick=${() => removeSoon(job)}>
      <${Icon} name="remove" />
    </button>`}`;
}
