// What can be done with a picture.
import * as api from "../../lib/api.js";
import { copyText } from "../../lib/clipboard.js";
import { html, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { download } from "../../lib/pictures.js";
import { asCurl, asJavaScript, asPython } from "../../lib/snippets.js";
import { cancelJob, isOver, mayCancel } from "../../state/batches.js";
import { modesOnOffer } from "../../state/form.js";
import { asInput, reuseJob } from "../../state/inputs.js";
import { go, whileHere } from "../../state/routes.js";
import { enlarge, makeAgain, notEnlarged } from "../../state/submitting.js";
import { sayWhy } from "../../state/toasts.js";
import { Icon } from "../Icon.js";

/** @typedef {import("../../state/types.js").Job} Job */

const LANGUAGES = /** @type {const} */ ([
  ["curl", asCurl],
  ["Python", asPython],
  ["JavaScript", asJavaScript],
]);

/**
 * @param {{job: Job, compare: boolean, setCompare: (compare: boolean) => void, remove: () => void}} props
 */
export function Actions({ job, compare, setCompare, remove }) {
  const [busy, setBusy] = useState(false);
  const picture = job.pictures.original;
  const wasDrawn = job.request.mode !== "upscale";
  const unable = job.pictures.upscaled ? t("upscaledAlready") : picture && notEnlarged(picture);
  /** @param {() => Promise<unknown>} work */
  const once = (work) => async () => {
    setBusy(true);
    try {
      await work();
    } catch (error) {
      sayWhy(error);
    } finally {
      setBusy(false);
    }
  };
  /** @param {() => Promise<boolean>} work whether there is something to be seen there */
  const onMake = (work) =>
    once(async () => {
      const stayed = whileHere();
      if ((await work()) && stayed()) go("make");
    });
  const vary = onMake(() => {
    const changes = { seed: null, ...(job.request.strength === null ? {} : { strength: job.request.strength }) };
    return makeAgain(job, changes);
  });
  const use = onMake(async () => {
    if (picture) await asInput([await api.picture(picture.url)]);
    return Boolean(picture);
  });
  return html`<div class="actions">
    ${picture &&
    html`<div class="action-grid">
      ${modesOnOffer().length > 1 &&
      html`<button type="button" class="second-button" disabled=${busy} onClick=${use}><${Icon} name="use" />${t("useAsInput")}</button>`}
      ${wasDrawn &&
      html`<button type="button" class="second-button" disabled=${busy} onClick=${vary}><${Icon} name="vary" />${t("vary")}</button>`}
      <button
        type="button"
        class="second-button"
        disabled=${busy || Boolean(unable)}
        title=${unable}
        onClick=${onMake(() => enlarge(() => api.picture(picture.url), job.request.prompt))}
      >
        <${Icon} name="upscale" />${t(job.pictures.upscaled ? "upscaledAlready" : "upscaleThis")}
      </button>
      ${wasDrawn &&
      html`<button type="button" class="second-button" disabled=${busy} onClick=${once(() => reuseJob(job))}><${Icon} name="reuse" />${t("reuse")}</button>`}
      ${job.inputs.input_images.length > 0 &&
      html`<button type="button" class="second-button" aria-pressed=${compare ? "true" : "false"} onClick=${() => setCompare(!compare)}>
        <${Icon} name="compare" />${t("compare")}
      </button>`}
      ${isOver(job) &&
      html`<button type="button" class="second-button danger" onClick=${remove}><${Icon} name="remove" />${t("remove")}</button>`}
    </div>`}
    ${mayCancel(job) &&
    html`<div class="action-row">
      <button type="button" class="second-button" disabled=${busy} onClick=${once(() => cancelJob(job))}><${Icon} name="close" />${t("cancel")}</button>
    </div>`}
    <div class="action-row">
      <${Downloads} job=${job} />
    </div>
    <div class="action-row">
      <span class="label">${t("copyAs")}</span>
      ${LANGUAGES.map(
        ([name, write]) => html`<button type="button" class="plain-button" onClick=${() => void copyText(write(job, api.serverAddress(), api.hasKey()))}>${name}</button>`,
      )}
    </div>
  </div>`;
}

/** @param {{job: Job}} props */
function Downloads({ job }) {
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
