// What is to be made, with the settings that the model honours and no others.
import { html, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { choose, EMPTY_FORM, fill, guidanceOf, modelMeant, strengthOf } from "../../state/form.js";
import { useStore } from "../../state/store.js";
import { makeForm } from "../../state/submitting.js";
import { Icon } from "../Icon.js";
import { Count } from "./Count.js";
import { InputPictures } from "./InputPictures.js";
import { Loras } from "./Loras.js";
import { Modes } from "./Modes.js";
import { NumberField } from "./NumberField.js";
import { Seed } from "./Seed.js";
import { Size } from "./Size.js";
import { SubmitBar } from "./SubmitBar.js";

const DEFAULTS = { width: null, height: null, steps: null, guidance: null, strength: null, conditioning: null };

export function Form() {
  const form = useStore((state) => state.form);
  const models = useStore((state) => state.models);
  const [more, setMore] = useState(false);
  const model = modelMeant(form, models);
  const able = (models ?? []).filter((one) => one.modes.includes(form.mode));
  const strength = model && strengthOf(form, model);
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      void makeForm();
    }
  };
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    void makeForm();
  };
  return html`<form class="panel" onSubmit=${submit} onKeyDown=${keys} aria-label=${t("make")}>
    <div class="panel-scroll">
      <${Modes} />
      <label class="field">
        <span>${t("prompt")}</span>
        <textarea
          name="prompt"
          rows="4"
          maxlength=${model?.max_prompt_chars}
          placeholder=${t(form.mode === "edit" ? "editPlaceholder" : "promptPlaceholder")}
          value=${form.prompt}
          onInput=${(/** @type {any} */ event) => fill({ prompt: event.target.value })}
        ></textarea>
      </label>
      ${form.mode !== "text2img" && html`<${InputPictures} />`}
      ${model &&
      html`
        <label class="field">
          <span>${t("model")}</span>
          <select name="model" value=${model.id} onChange=${(/** @type {any} */ event) => choose({ model: event.target.value })}>
            ${able.map(
              (one) => html`<option key=${one.id} value=${one.id} selected=${one.id === model.id}>
                ${one.title}${one.loaded ? "" : ` (${t("loading")})`}
              </option>`,
            )}
          </select>
        </label>
        <${Size} model=${model} />
        ${strength !== null &&
        html`<${NumberField}
          name="strength"
          label=${t("strength")}
          hint=${t("strengthHint")}
          value=${strength}
          min=${0}
          max=${1}
          step=${0.01}
          change=${(/** @type {number} */ value) => fill({ strength: value })}
        />`}
        ${form.mode === "controlnet" &&
        html`<${NumberField}
          name="conditioning"
          label=${t("conditioning")}
          value=${form.conditioning ?? model.defaults.controlnet_conditioning_scale ?? 1}
          min=${0}
          max=${2}
          step=${0.05}
          change=${(/** @type {number} */ value) => fill({ conditioning: value })}
        />`}
        <div class="pair">
          <${Count} />
          <${Seed} />
        </div>
        ${more &&
        html`
          <${NumberField}
            name="steps"
            label=${t("steps")}
            value=${form.steps ?? model.defaults.num_inference_steps}
            min=${model.min_steps}
            max=${model.max_steps}
            step=${1}
            change=${(/** @type {number} */ value) => fill({ steps: value })}
          />
          ${model.guidance &&
          html`<${NumberField}
            name="guidance"
            label=${t("guidance")}
            value=${guidanceOf(form, model)}
            min=${0}
            max=${20}
            step=${0.1}
            change=${(/** @type {number} */ value) => fill({ guidance: value })}
          />`}
          ${model.negative_prompt &&
          html`<label class="field">
            <span>${t("negative")}</span>
            <textarea
              name="negative"
              rows="2"
              placeholder=${t("negativeHint")}
              value=${form.negative_prompt}
              onInput=${(/** @type {any} */ event) => fill({ negative_prompt: event.target.value })}
            ></textarea>
            ${form.negative_prompt && guidanceOf(form, model) === 0 && html`<small>${t("negativeUnused")}</small>`}
          </label>`}
          <${Loras} model=${model} />
          <label class="tick">
            <input type="checkbox" name="upscale" checked=${form.upscale} onChange=${(/** @type {any} */ event) => fill({ upscale: event.target.checked })} />
            <span>${t("alsoUpscale")}</span>
          </label>
          ${model.step_cache &&
          form.mode !== "controlnet" &&
          html`<label class="tick">
            <input type="checkbox" name="stepCache" checked=${form.stepCache} onChange=${(/** @type {any} */ event) => fill({ stepCache: event.target.checked })} />
            <span>${t("stepCache")}<small>${t("stepCacheHint")}</small></span>
          </label>`}
          <button type="button" class="plain-button" onClick=${() => fill({ ...EMPTY_FORM, prompt: form.prompt, mode: form.mode, model: form.model, ...DEFAULTS })}>
            <${Icon} name="reuse" />${t("reset")}
          </button>
        `}
        <button type="button" class="plain-button unfold" aria-expanded=${more ? "true" : "false"} onClick=${() => setMore(!more)}>
          <${Icon} name="down" />${t(more ? "fewer" : "more")}
        </button>
      `}
    </div>
    <${SubmitBar} />
  </form>`;
}
