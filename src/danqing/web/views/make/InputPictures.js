// The pictures that the request starts from, with the mask or the map that goes with them.
import { edgesOf } from "../../lib/edges.js";
import { html, useEffect, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { fill, modelMeant, mostInputs } from "../../state/form.js";
import { addInputs, setControl, setInputs } from "../../state/inputs.js";
import { change, useStore } from "../../state/store.js";
import { EnlargeButton } from "../EnlargeButton.js";
import { Icon } from "../Icon.js";
import { MaskEditor } from "./MaskEditor.js";
import { PicturePicker } from "./PicturePicker.js";

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

/** The map that a ControlNet follows. */
function Control() {
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

/**
 * The lines that are found in a photo.
 * @param {{picture: import("../../state/types.js").InputPicture}} props
 */
function Lines({ picture }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    edgesOf(picture.blob).then(setAddress, () => setAddress(""));
  }, [picture]);
  return (
    address &&
    html`<div class="thumbs">
      <figure class="thumb">
        <img src=${address} alt=${t("linesFound")} />
        <figcaption>${t("linesFound")}</figcaption>
      </figure>
    </div>`
  );
}

/**
 * @param {{picture: import("../../state/types.js").InputPicture, drop: () => void, mayEnlarge?: boolean}} props
 */
function Thumb({ picture, drop, mayEnlarge = false }) {
  return html`<figure class="thumb">
    <img src=${picture.url} alt=${`${picture.width} × ${picture.height}`} />
    <figcaption>${picture.width} × ${picture.height}</figcaption>
    <button type="button" class="round small on-picture" aria-label=${t("removePicture")} onClick=${drop}>
      <${Icon} name="close" />
    </button>
    ${mayEnlarge && html`<${EnlargeButton} picture=${picture} read=${async () => picture.blob} prompt="" beside=${true} />`}
  </figure>`;
}
