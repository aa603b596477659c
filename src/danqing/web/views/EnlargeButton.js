// On a picture: makes one of it that is larger.
import { classes, html, useState } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { go } from "../state/routes.js";
import { useStore } from "../state/store.js";
import { enlarge, notEnlarged, wordsFor } from "../state/submitting.js";
import { say } from "../state/toasts.js";
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
    setBusy(true);
    try {
      await enlarge(await read(), prompt);
      go("make");
    } catch (error) {
      say(wordsFor(error), { kind: "error" });
    } finally {
      setBusy(false);
    }
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
