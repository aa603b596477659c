// The map that a ControlNet follows.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { fill } from "../../state/form.js";
import { setControl } from "../../state/inputs.js";
import { change, useStore } from "../../state/store.js";
import { Lines } from "./Lines.js";
import { PicturePicker } from "./PicturePicker.js";
import { Thumb } from "./Thumb.js";

export function Control() {
  const first = useStore((state) => state.inputs[0] ?? null);
  const control = useStore((state) => state.control);
  const preprocess = useStore((state) => state.form.preprocess);
  return html`<div class="field">
    <label class="tick">
      <input type="checkbox" name="preprocess" checked=${preprocess} onChange=${(/** @type {any} */ event) => fill({ preprocess: event.target.checked })} />
      <span>${t("preprocess")}<small>${t(preprocess ? "controlSame" : "preprocessHint")}</small></span>
    </label>
    ${preprocess && first && html`<${Lines} key=${first.id} picture=${first} />`}
    ${!preprocess &&
    html`<span class="label">${t("controlPicture")}</span>
      <div class=${control ? "thumbs" : ""}>
        ${control
          ? html`<${Thumb} picture=${control} drop=${() => change({ control: null })} />`
          : html`<${PicturePicker} small=${false} several=${false} take=${setControl} />`}
      </div>`}
  </div>`;
}
