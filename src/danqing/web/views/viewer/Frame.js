// Where the picture is: as large as there is room, or one pixel of it for one of the screen, to be moved about.
import { html, useLayoutEffect, useRef } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { close } from "../../state/routes.js";
import { StoredPicture } from "../StoredPicture.js";
import { BeforeAfter } from "./BeforeAfter.js";

/**
 * compare: with what it was made from.
 * @param {{job: import("../../state/types.js").Job, picture: import("../../state/types.js").PictureView,
 *   compare: boolean, actual: boolean}} props
 */
export function Frame({ job, picture, compare, actual }) {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  const source = job.inputs.input_images[0];
  useLayoutEffect(() => {
    const shown = frame.current;
    if (!shown || !actual) return;
    shown.scrollLeft = (shown.scrollWidth - shown.clientWidth) / 2;
    shown.scrollTop = (shown.scrollHeight - shown.clientHeight) / 2;
  }, [actual, job.id]);
  /** @param {PointerEvent} event */
  const hold = (event) => {
    if (!actual || event.pointerType !== "mouse" || event.target instanceof HTMLInputElement) return;
    event.preventDefault();
    frame.current?.setPointerCapture(event.pointerId);
  };
  /** @param {PointerEvent} event */
  const drag = (event) => {
    if (frame.current?.hasPointerCapture(event.pointerId)) frame.current.scrollBy(-event.movementX, -event.movementY);
  };
  const pixels = { "--pixels": `${picture.width / (devicePixelRatio || 1)}px` };
  return html`<div
    class="frame"
    ref=${frame}
    style=${pixels}
    tabindex=${actual ? 0 : null}
    role=${actual ? "group" : null}
    aria-label=${actual ? t("actualSize") : null}
    onClick=${(/** @type {Event} */ event) => event.target === event.currentTarget && !actual && close()}
    onPointerDown=${hold}
    onPointerMove=${drag}
  >
    ${compare && source
      ? html`<${BeforeAfter} before=${source} after=${picture} />`
      : html`<${StoredPicture} key=${picture.url} job=${job} picture=${picture} />`}
  </div>`;
}
