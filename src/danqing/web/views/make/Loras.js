// The LoRAs that fit the model, each with its strength.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { fill } from "../../state/form.js";
import { useStore } from "../../state/store.js";
import { NumberField } from "./NumberField.js";

const MOST = 8;

/** @param {{model: import("../../state/types.js").Model}} props */
export function Loras({ model }) {
  const loras = useStore((state) => state.form.loras);
  if (model.loras.length === 0) return null;
  /** @param {string} name */
  const turn = (name) => {
    const has = loras.some((lora) => lora.name === name);
    fill({ loras: has ? loras.filter((lora) => lora.name !== name) : [...loras, { name, scale: 1 }] });
  };
  /**
   * @param {string} name
   * @param {number} scale
   */
  const set = (name, scale) => fill({ loras: loras.map((lora) => (lora.name === name ? { name, scale } : lora)) });
  return html`<fieldset class="field loras">
    <legend>${t("loras")}</legend>
    ${model.loras.map((name) => {
      const chosen = loras.find((lora) => lora.name === name);
      return html`<div key=${name}>
        <label class="tick">
          <input type="checkbox" checked=${Boolean(chosen)} disabled=${!chosen && loras.length >= MOST} onChange=${() => turn(name)} />
          <span>${name}</span>
        </label>
        ${chosen &&
        html`<${NumberField}
          name=${`lora-${name}`}
          label=${t("loraScale", { name })}
          value=${chosen.scale}
          min=${-2}
          max=${2}
          step=${0.05}
          change=${(/** @type {number} */ scale) => set(name, scale)}
        />`}
      </div>`;
    })}
  </fieldset>`;
}
