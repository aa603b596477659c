// What the machine is doing, now and since the page was opened.
import { html, useEffect } from "../../lib/html.js";
import { bytes, number, percent, t } from "../../lib/i18n.js";
import { watchMachine } from "../../state/machine.js";
import { useStore } from "../../state/store.js";
import { Keys } from "./Keys.js";
import { LineChart } from "./LineChart.js";
import { WorkerCard } from "./WorkerCard.js";

const RATE_OVER_MS = 60_000;

export function MachineView() {
  const samples = useStore((state) => state.samples);
  const managesKeys = useStore((state) => state.caller?.manages_keys ?? false);
  useEffect(watchMachine, []);
  const last = samples.at(-1)?.machine;
  if (!last) return html`<p class="nothing" role="status">${t("noSamples")}</p>`;
  const { queue, host, workers } = last;
  const rates = samples.map((_, place) => rateAt(samples, place));
  return html`<div class="machine">
    <h1 class="unseen">${t("machine")}</h1>
    ${last.draining && html`<p class="adjusted" role="status">${t("draining")}</p>`}
    <section class="figures" aria-label=${t("since")}>
      <${LineChart}
        title=${t("queue")}
        value=${number(queue.pending)}
        note=${t("ofMost", { n: number(queue.max_pending) })}
        points=${samples.map(({ machine }) => machine.queue.pending)}
      />
      <${LineChart} title=${t("running")} value=${number(queue.processing)} points=${samples.map(({ machine }) => machine.queue.processing)} />
      <${LineChart} title=${t("throughput")} value=${number(rates.at(-1) ?? 0, 1)} points=${rates} />
      <${LineChart} title=${t("cpu")} value=${percent(host.cpu_percent / 100)} points=${samples.map(({ machine }) => machine.host.cpu_percent)} most=${100} />
      <${LineChart}
        title=${t("hostMemory")}
        value=${bytes(host.memory_used_bytes)}
        note=${t("usedOf", { used: percent(host.memory_used_bytes / host.memory_total_bytes), total: bytes(host.memory_total_bytes) })}
        points=${samples.map(({ machine }) => machine.host.memory_used_bytes)}
        most=${host.memory_total_bytes}
      />
    </section>
    <h2>${t("workers")}</h2>
    <section class="workers">
      ${workers.map((worker, place) => html`<${WorkerCard} key=${worker.id} worker=${worker} points=${samples.map(({ machine }) => machine.workers[place]?.memory_used_bytes ?? 0)} />`)}
    </section>
    ${managesKeys && html`<${Keys} />`}
    <dl class="totals">
      ${/** @type {const} */ (["completed", "failed", "cancelled"]).map((state) => html`<div><dt>${t(state)}</dt><dd>${number(queue[state])}</dd></div>`)}
    </dl>
    <p class="hint">${t("version", { version: last.version })}</p>
  </div>`;
}

/**
 * Pictures completed within the minute before a sample.
 * @param {import("../../state/store.js").Sample[]} samples
 * @param {number} place
 */
function rateAt(samples, place) {
  const end = samples[place];
  if (!end) return 0;
  const begin = samples.find((sample) => sample.at >= end.at - RATE_OVER_MS) ?? end;
  const made = end.machine.queue.completed - begin.machine.queue.completed;
  const minutes = Math.max(1 / 6, (end.at - begin.at) / RATE_OVER_MS);
  return Math.max(0, made / minutes);
}
