// Saves the files of a picture, named by its words and seed.
import * as api from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { download } from "../../lib/pictures.js";
import { sayWhy } from "../../state/toasts.js";

/** @typedef {import("../../state/types.js").Job} Job */

/** @param {{job: Job}} props */
export function Downloads({ job }) {
  const kinds = /** @type {const} */ (["original", "upscaled", "preview"]);
  return html`<span class="label">${t("download")}</span>
    ${kinds.map((kind) => {
      const picture = job.pictures[kind];
      return (
        picture &&
        html`<button type="button" class="plain-button" title=${`${picture.width} × ${picture.height}`} onClick=${() => void save(job, kind, picture)}>
          ${t(kind)}
        </button>`
      );
    })}`;
}

/**
 * @param {Job} job
 * @param {string} kind
 * @param {import("../../state/types.js").PictureView} picture
 */
async function save(job, kind, picture) {
  const words = job.request.prompt.match(/[\p{L}\p{N}]+/gu) ?? [];
  const mark = job.request.mode === "upscale" ? "x4" : job.request.seed;
  const name = [...words.slice(0, 6), mark, ...(kind === "original" ? [] : [kind])].join("-");
  try {
    download(await api.picture(picture.url), `${name}.${picture.media_type.split("/")[1]}`);
  } catch (error) {
    sayWhy(error);
  }
}
