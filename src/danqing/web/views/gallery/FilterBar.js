// Looks for words, models and kinds.
import { html, useRef, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { modesOnOffer } from "../../state/form.js";
import { show } from "../../state/gallery.js";
import { now, useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";
import { MODE_WORDS } from "../make/Modes.js";

const PATIENCE_MS = 250;
const UPSCALE = /** @type {const} */ ("upscale");

export function FilterBar() {
  const filter = useStore((state) => state.gallery.filter);
  const models = useStore((state) => state.models);
  const upscaler = useStore((state) => state.upscaler);
  const [text, setText] = useState(filter.text);
  const timer = useRef(0);
  /** @param {any} event */
  const type = (event) => {
    setText(event.target.value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      timer.current = 0;
      void show({ ...now().gallery.filter, text: event.target.value.trim() });
    }, PATIENCE_MS);
  };
  const shown = filter.text === "" && text.trim() !== "" && timer.current === 0 ? "" : text;
  return html`<search class="filters">
    <label class="search">
      <span class="unseen">${t("search")}</span>
      <${Icon} name="search" />
      <input type="search" name="search" placeholder=${t("search")} value=${shown} onInput=${type} />
    </label>
    <label>
      <span class="unseen">${t("filterModel")}</span>
      <select name="filterModel" onChange=${(/** @type {any} */ event) => void show({ ...filter, model: event.target.value })}>
        <option value="" selected=${filter.model === ""}>${t("allModels")}</option>
        ${(models ?? []).map((model) => html`<option key=${model.id} value=${model.id} selected=${filter.model === model.id}>${model.title}</option>`)}
      </select>
    </label>
    <label>
      <span class="unseen">${t("filterMode")}</span>
      <select name="filterMode" onChange=${(/** @type {any} */ event) => void show({ ...filter, mode: event.target.value })}>
        <option value="" selected=${filter.mode === ""}>${t("allModes")}</option>
        ${models && [...modesOnOffer(), ...(upscaler ? [UPSCALE] : [])].map((mode) => html`<option key=${mode} value=${mode} selected=${filter.mode === mode}>${t(MODE_WORDS[mode])}</option>`)}
      </select>
    </label>
  </search>`;
}
