// Two pictures over one another, with a line to move.
import * as api from "../../lib/api.js";
import { html, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";

/**
 * @param {{before: import("../../state/types.js").PictureView, after: import("../../state/types.js").PictureView}} props
 */
export function BeforeAfter({ before, after }) {
  const [share, setShare] = useState(50);
  const shape = { "--share": `${share}%`, "--wide": after.width / after.height };
  return html`<div class="compare" style=${shape}>
    <img src=${api.at(after.url)} alt=${t("after")} />
    <img class="before" src=${api.at(before.url)} alt=${t("before")} />
    <i class="line" aria-hidden="true"></i>
    <span class="tag left" aria-hidden="true">${t("before")}</span>
    <span class="tag right" aria-hidden="true">${t("after")}</span>
    <input
      type="range"
      min="0"
      max="100"
      value=${share}
      aria-label=${t("compareSlider")}
      onInput=${(/** @type {any} */ event) => setShare(Number(event.target.value))}
    />
  </div>`;
}
