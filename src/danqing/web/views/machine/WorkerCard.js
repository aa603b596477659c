// A device and the process on it.
import { html } from "../../lib/html.js";
import { bytes, number, percent, t } from "../../lib/i18n.js";
import { saidOf } from "../../lib/said.js";
import { LineChart } from "./LineChart.js";

const STATES = /** @type {const} */ (["starting", "ready", "busy", "restarting", "broken"]);

/**
 * @param {{worker: import("../../state/types.js").Worker, points: import("./LineChart.js").Point[],
 *   span: [number, number]}} props
 */
export function WorkerCard({ worker, points, span }) {
  const state = STATES.find((one) => one === worker.state);
  const { memory_used_bytes: used, memory_total_bytes: total } = worker;
  return html`<article class="worker" data-state=${worker.state}>
    <header>
      <h3>${worker.device_name ?? worker.device ?? worker.id}</h3>
      <span class="state">${state ? t(`state_${state}`) : worker.state}</span>
    </header>
    <p class="hint">${[worker.device, t("restarts", { n: number(worker.restarts) })].filter(Boolean).join(" · ")}</p>
    <ul class="model-names">${worker.models.map((model) => html`<li>${model}</li>`)}</ul>
    ${worker.failure &&
    html`<p class="wrong">${saidOf({ code: worker.failure_code ?? "", message: worker.failure })}</p>
      <p class="hint" lang="en">${worker.failure}</p>`}
    ${total !== null && used !== null
      ? html`<${LineChart} title=${t("memory")} value=${bytes(used)} note=${t("usedOf", { used: percent(used / total), total: bytes(total) })} points=${points} span=${span} most=${total} />`
      : html`<p class="hint">${t("memory")}: ${t("noMemory")}</p>`}
  </article>`;
}
