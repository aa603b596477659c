// What can be done with a picture.
import * as api from "../../lib/api.js";
import { copyText } from "../../lib/clipboard.js";
import { useFocusKept } from "../../lib/focus.js";
import { html, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { fetched } from "../../lib/later.js";
import { cancelJob, isOver, mayCancel } from "../../state/batches.js";
import { modesOnOffer } from "../../state/form.js";
import { asInput, reuseJob } from "../../state/inputs.js";
import { go, whileHere } from "../../state/routes.js";
import { enlarge, makeAgain, notEnlarged } from "../../state/submitting.js";
import { sayWhy } from "../../state/toasts.js";
import { Icon } from "../Icon.js";
import { Downloads } from "./Downloads.js";

/** @typedef {import("../../state/types.js").Job} Job */

const LANGUAGES = /** @type {const} */ ([
  ["curl", "asCurl"],
  ["Python", "asPython"],
  ["JavaScript", "asJavaScript"],
]);

/**
 * @param {{job: Job, compare: boolean, setCompare: (compare: boolean) => void, remove: () => void}} props
 */
export function Actions({ job, compare, setCompare, remove }) {
  const actions = useFocusKept();
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
  /** @param {(typeof LANGUAGES)[number][1]} write */
  const copy = (write) =>
    once(async () => {
      const snippets = await fetched(import("../../lib/snippets.js"));
      await copyText(snippets[write](job, api.serverAddress(), api.hasKey()));
    });
  return html`<div ref=${actions} class="actions" tabindex="-1">
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
        ([name, write]) => html`<button type="button" class="plain-button" onClick=${copy(write)}>${name}</button>`,
      )}
    </div>
  </div>`;
}
