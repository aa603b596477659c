// One picture, as large as the window lets it be or pixel by pixel, with everything that can be done with it.
import { Refused } from "../../lib/api.js";
import * as api from "../../lib/api.js";
import { classes, html, useEffect, useLayoutEffect, useRef, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { jobOf, learnJob } from "../../state/batches.js";
import { more, note, removeSoon } from "../../state/gallery.js";
import { close, open } from "../../state/routes.js";
import { now, useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";
import { ConnectionBar } from "../shell/ConnectionBar.js";
import { DropZone } from "../shell/DropZone.js";
import { Toasts } from "../shell/Toasts.js";
import { Actions } from "./Actions.js";
import { Details } from "./Details.js";
import { Frame } from "./Frame.js";

/**
 * What is outside a modal dialog can neither be seen nor clicked: notes and the like are shown in it.
 * @param {{jobId: string}} props
 */
export function Viewer({ jobId }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useStore((state) => state.batches);
  const connection = useStore((state) => state.connection);
  const [compare, setCompare] = useState(false);
  const [actual, setActual] = useState(false);
  const [alone, setAlone] = useState(false); // the picture, without what can be done with it
  const [gone, setGone] = useState(false);
  const asked = useRef(0); // steps asked for before the gallery was read, as after a reload
  const job = jobOf(jobId);

  // Before the next key can come: it would be the gallery's behind it.
  useLayoutEffect(() => {
    const shown = /** @type {HTMLDialogElement} */ (dialog.current);
    shown.showModal();
    return () => shown.close();
  }, []);
  useEffect(() => {
    asked.current = 0;
    setGone(false);
    setCompare(false);
    setActual(false);
  }, [jobId]);
  useEffect(() => {
    if (connection === "lost" || jobOf(jobId)) return;
    let left = false;
    api.job(jobId).then(
      (told) => (learnJob(told), left || setGone(!jobOf(jobId))),
      (error) => (error instanceof Refused && error.status === 404 ? left || setGone(true) : note(error)),
    );
    return () => {
      left = true;
    };
  }, [jobId, connection]);

  const order = orderOfJobs();
  const at = order.indexOf(jobId);
  const last = order[order.length - 1];
  const after = order[at + 1] ?? order[at - 1] ?? null;
  /** @param {number} step */
  const turn = (step) => {
    if (at < 0) asked.current = step;
    const target = order[at + step];
    if (at >= 0 && target) open(target);
    if (at + step >= order.length - 5) void more();
  };
  useEffect(() => {
    if (at < 0) return;
    if (asked.current) turn(asked.current);
    asked.current = 0;
  }, [jobId, at < 0]);
  const remove = () => {
    if (!job || !removeSoon(job)) return;
    if (after) open(after);
    else close();
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = actual && event.target instanceof Element && event.target.matches(".frame");
    if (moves && event.key.startsWith("Arrow")) return; // the picture in its frame
    if (event.key === "ArrowLeft") turn(-1);
    else if (event.key === "ArrowRight") turn(1);
    else if (event.key === "Home" && order[0]) open(order[0]);
    else if (event.key === "End" && last) open(last);
    else if (event.key === "z") setActual(!actual);
    else if (event.key === "f") setAlone(!alone);
    else if (event.key === "Delete") event.repeat || remove();
    else return;
    event.preventDefault();
  };
  const picture = job?.pictures.original;
  const sizeWord = actual ? "wholePicture" : "actualSize";
  return html`<dialog
    ref=${dialog}
    class=${classes("viewer", alone && "alone")}
    aria-label=${t("viewer")}
    onCancel=${(/** @type {Event} */ event) => (event.preventDefault(), close())}
    onKeyDown=${keys}
  >
    <${ConnectionBar} />
    <div class=${classes("viewer-stage", actual && "actual")}>
      ${job && picture
        ? html`<${Frame} job=${job} picture=${picture} compare=${compare} actual=${actual} />`
        : html`<p class="gone">${gone ? t("pictureGone") : ""}</p>`}
      <button type="button" class="round on-picture close" aria-label=${t("closeViewer")} title="Esc" onClick=${close}><${Icon} name="close" /></button>
      ${picture &&
      html`<button type="button" class="round on-picture zoom" aria-label=${t(sizeWord)} title=${`${t(sizeWord)} (Z)`} aria-pressed=${actual ? "true" : "false"} onClick=${() => setActual(!actual)}>
        <${Icon} name=${actual ? "whole" : "zoom"} />
      </button>
      <button type="button" class="round on-picture fill-window" aria-label=${t("pictureAlone")} title=${`${t("pictureAlone")} (F)`} aria-pressed=${alone ? "true" : "false"} onClick=${() => setAlone(!alone)}>
        <${Icon} name="alone" />
      </button>`}
      <button type="button" class="round on-picture previous" aria-label=${t("previous")} disabled=${at <= 0} onClick=${() => turn(-1)}><${Icon} name="previous" /></button>
      <button type="button" class="round on-picture next" aria-label=${t("next")} disabled=${at < 0 || at >= order.length - 1} onClick=${() => turn(1)}><${Icon} name="next" /></button>
    </div>
    ${job &&
    html`<aside class="viewer-side">
      <${Actions} job=${job} compare=${compare} setCompare=${setCompare} remove=${remove} />
      <${Details} job=${job} />
    </aside>`}
    <${DropZone} />
    <${Toasts} />
  </dialog>`;
}

/** The jobs that have pictures, in the order of the gallery. */
function orderOfJobs() {
  const { gallery, batches } = now();
  const ids = [];
  for (const id of gallery.ids) {
    for (const job of batches.get(id)?.jobs ?? []) if (job.pictures.original) ids.push(job.id);
  }
  return ids;
}
