// On a picture: makes one of it that is larger.
import { classes, html, useState } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { go, whileHere } from "../state/routes.js";
import { useStore } from "../state/store.js";
import { enlarge, notEnlarged } from "../state/submitting.js";
import { Icon } from "./Icon.js";

/**
 * prompt: what the larger one will be found by. beside: there is another button in the corner already.
 * @param {{picture: {width: number, height: number}, read: () => Promise<Blob>, prompt: string, beside?: boolean}} props
 */
export function EnlargeButton({ picture, read, prompt, beside = false }) {
  const [busy, setBusy] = useState(false);
  useStore((state) => state.upscaler);
  const unable = notEnlarged(picture);
  const make = async () => {
    const stayed = whileHere();
    setBusy(true);
    const isMade = await enlarge(read, prompt);
    setBusy(false);
    if (isMade && stayed()) go("make");
  };
  return html`<button
    type="button"
    class=${classes("round small on-picture", beside && "second")}
    aria-label=${t("upscaleInput")}
    title=${unable ?? t("upscaleInput")}
    disabled=${busy || unable !== null}
    onClick=${make}
  >
    <${Icon} name="upscale" />
  </button>`;
}
