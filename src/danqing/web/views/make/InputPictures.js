// The pictures that the request starts from, with the mask or the map that goes with them.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { modelMeant, mostInputs } from "../../state/form.js";
import { addInputs, setInputs } from "../../state/inputs.js";
import { useStore } from "../../state/store.js";
import { Control } from "./Control.js";
import { MaskEditor } from "./MaskEditor.js";
import { PicturePicker } from "./PicturePicker.js";
import { Thumb } from "./Thumb.js";

export function InputPictures() {
  const form = useStore((state) => state.form);
  const inputs = useStore((state) => state.inputs);
  const models = useStore((state) => state.models);
  const most = mostInputs(form.mode, modelMeant(form, models));
  const shown = inputs.slice(0, most);
  const [first] = shown;
  return html`<div class="inputs">
    <div class="field">
      <span class="label">${t(most > 1 ? "inputPictures" : "inputPicture")}</span>
      ${form.mode === "fill" && first
        ? html`<${MaskEditor} key=${first.id} picture=${first} />`
        : html`<div class=${shown.length ? "thumbs" : ""}>
            ${shown.map((picture) => html`<${Thumb} key=${picture.id} picture=${picture} mayEnlarge=${true} drop=${() => setInputs(inputs.filter((one) => one.id !== picture.id))} />`)}
            ${shown.length < most && html`<${PicturePicker} small=${shown.length > 0} several=${most > 1} take=${addInputs} />`}
          </div>`}
    </div>
    ${form.mode === "controlnet" && html`<${Control} />`}
  </div>`;
}
