// A number with a slider beside it.
import { html } from "../../lib/html.js";

/**
 * @param {{name: string, label: string, hint?: string, value: number, min: number, max: number, step: number,
 *   change: (value: number) => void}} props
 */
export function NumberField({ name, label, hint, value, min, max, step, change }) {
  /** @param {any} event */
  const slide = (event) => change(Number(event.target.value));
  /** @param {any} event */
  const type = (event) => {
    const typed = Number(event.target.value);
    const next = Number.isFinite(typed) && event.target.value !== "" ? Math.min(max, Math.max(min, typed)) : value;
    const whole = step >= 1 ? Math.round(next) : next;
    event.target.value = String(whole);
    change(whole);
  };
  return html`<div class="field number">
    <label for=${name}>${label}</label>
    <input id=${name} name=${name} type="number" min=${min} max=${max} step=${step} value=${value} onChange=${type} />
    <input type="range" aria-label=${label} min=${min} max=${max} step=${step} value=${value} onInput=${slide} />
    ${hint && html`<small>${hint}</small>`}
  </div>`;
}
