// What kind of picture-making: as tabs that behave as radio buttons.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { choose, modesOnOffer } from "../../state/form.js";
import { useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";

export const MODE_WORDS = /** @type {const} */ ({
  text2img: "text2img",
  img2img: "img2img",
  fill: "fillMode",
  controlnet: "controlnet",
  edit: "edit",
  upscale: "upscale",
});
const HINTS = /** @type {const} */ ({
  text2img: "text2imgHint",
  img2img: "img2imgHint",
  fill: "fillHint",
  controlnet: "controlnetHint",
  edit: "editHint",
  upscale: "upscaleHint",
});

export function Modes() {
  const mode = useStore((state) => state.form.mode);
  const models = useStore((state) => state.models);
  const offered = models ? modesOnOffer() : [mode];
  return html`<fieldset class="modes">
    <legend class="unseen">${t("mode")}</legend>
    <div class="mode-row">
      ${offered.map(
        (one) => html`<label key=${one} class="mode" title=${t(HINTS[one])}>
          <input type="radio" name="mode" value=${one} checked=${one === mode} onChange=${() => choose({ mode: one })} />
          <span><${Icon} name=${one} />${t(MODE_WORDS[one])}</span>
        </label>`,
      )}
    </div>
    <p class="hint">${t(HINTS[mode])}</p>
  </fieldset>`;
}
