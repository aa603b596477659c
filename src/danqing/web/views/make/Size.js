// The size: chips for shapes, numbers for everything else.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { RATIOS, sizeFor, sizeLike } from "../../lib/sizes.js";
import { fill, sizeOf } from "../../state/form.js";
import { useStore } from "../../state/store.js";

const BOX = 16; // of a chip's drawing

/** @param {{model: import("../../state/types.js").Model}} props */
export function Size({ model }) {
  const form = useStore((state) => state.form);
  const first = useStore((state) => state.inputs[0]);
  const size = sizeOf(form, model);
  /** @param {"width" | "height"} name */
  const typed = (name) => (/** @type {any} */ event) => {
    const wanted = Math.round(Number(event.target.value)) || size[name];
    const next = Math.min(model.max_side, Math.max(model.min_side, wanted));
    event.target.value = String(next);
    fill({ ...size, [name]: next });
  };
  const like = form.mode !== "text2img" && first ? sizeLike(model, first) : null;
  return html`<fieldset class="field size">
    <legend>${t("size")}</legend>
    <div class="shapes">
      ${RATIOS.map(([across, down]) => {
        const chip = sizeFor(model, across, down);
        const isIt = chip.width === size.width && chip.height === size.height;
        const unit = BOX / Math.max(across, down);
        const box = { width: `${across * unit}px`, height: `${down * unit}px` };
        return html`<button
          key=${`${across}:${down}`}
          type="button"
          class="chip"
          aria-pressed=${isIt ? "true" : "false"}
          title=${`${chip.width} × ${chip.height}`}
          onClick=${() => fill(chip)}
        >
          <span class="shape"><i style=${box}></i></span>${across}:${down}
        </button>`;
      })}
    </div>
    <div class="size-numbers">
      <input aria-label=${t("width")} name="width" type="number" min=${model.min_side} max=${model.max_side} value=${size.width} onChange=${typed("width")} />
      <span aria-hidden="true">×</span>
      <input aria-label=${t("height")} name="height" type="number" min=${model.min_side} max=${model.max_side} value=${size.height} onChange=${typed("height")} />
      ${like &&
      html`<button
        type="button"
        class="chip"
        aria-pressed=${like.width === size.width && like.height === size.height ? "true" : "false"}
        onClick=${() => fill(like)}
      >
        ${t("asInput")}
      </button>`}
    </div>
  </fieldset>`;
}
