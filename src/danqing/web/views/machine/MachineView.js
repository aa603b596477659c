// What the machine is doing, now and in the last hour.
import { html, useEffect, useMemo } from "../../lib/html.js";
import { number, t } from "../../lib/i18n.js";
import { watchMachine } from "../../state/machine.js";
import { useStore } from "../../state/store.js";
import { HostFigures } from "./HostFigures.js";
import { Keys } from "./Keys.js";
import { LineChart } from "./LineChart.js";
import { pointsOf } from "./points.js";
import { WorkerCard } from "./WorkerCard.js";

const RATE_OVER_MS = 60_000;

/** @typedef {import("../../state/types.js").Sample} Sample */
/** @typedef {import("../../state/types.js").Host} Host */

export function MachineView() {
  const machine = useStore((state) => state.machine);
  const managesKeys = useStore((state) => state.caller?.manages_keys ?? false);
  useEffect(watchMachine, []);
  const hosts = [...(machine?.hosts.values() ?? [])].sort((one, other) => (one.load.id < other.load.id ? -1 : 1));
  // What the queue was is told by each host alike: the one that remembers most tells it for all.
  const samples = hosts.reduce((most, { samples }) => (samples.length > most.length ? samples : most), /** @type {Sample[]} */ ([]));
  const rates = useMemo(() => ratesOf(samples), [samples]);
  if (!machine) return html`<p class="nothing" role="status">${t("noSamples")}</p>`;
  const { latest } = machine;
  const { queue, workers } = latest;
  const span = spanOf(hosts);
  return html`<div class="machine">
    <h1 class="unseen">${t("machine")}</h1>
    ${latest.draining && html`<p class="adjusted" role="status">${t("draining")}</p>`}
    <section class="figures" aria-label=${t("lastHour")}>
      <${LineChart} title=${t("queue")} value=${number(queue.pending)} note=${t("ofMost", { n: number(queue.max_pending) })} points=${pointsOf(samples, (one) => one.pending)} span=${span} />
      <${LineChart} title=${t("running")} value=${number(queue.processing)} points=${pointsOf(samples, (one) => one.processing)} span=${span} />
      <${LineChart} title=${t("throughput")} value=${number(rates.at(-1)?.value ?? 0, 1)} points=${rates} span=${span} />
    </section>
    ${hosts.map((host) => html`<${HostFigures} key=${host.load.id} host=${host} named=${hosts.length > 1} span=${span} />`)}
    <h2>${t("workers")}</h2>
    <section class="workers">
      ${workers.map((worker) => html`<${WorkerCard} key=${worker.id} worker=${worker} points=${pointsOf(samples, (one) => one.worker_memory_bytes[worker.id] ?? null)} span=${span} />`)}
    </section>
    ${managesKeys && html`<${Keys} />`}
    <dl class="totals">
      ${/** @type {const} */ (["completed", "failed", "cancelled"]).map((state) => html`<div><dt>${t(state)}</dt><dd>${number(queue[state])}</dd></div>`)}
    </dl>
    <p class="hint">${t("version", { version: latest.version })} · ${t("lastHour")}</p>
  </div>`;
}

/**
 * All charts have the same span of time, so that what happened together is seen together.
 * @param {Host[]} hosts
 * @returns {[number, number]}
 */
function spanOf(hosts) {
  const begins = hosts.flatMap(({ samples }) => (samples[0] ? [Date.parse(samples[0].at)] : []));
  const ends = hosts.flatMap(({ samples }) => samples.slice(-1).map((sample) => Date.parse(sample.at)));
  return [Math.min(...begins), Math.max(...ends)];
}

/**
 * Pictures completed within the minute before each sample, a minute.
 * @param {Sample[]} samples
 */
function ratesOf(samples) {
  let first = 0;
  return samples.map((sample, place) => {
    const at = Date.parse(sample.at);
    while (first < place && at - Date.parse(samples[first]?.at ?? "") > RATE_OVER_MS) first += 1;
    const begin = samples[first] ?? sample;
    const minutes = Math.max(1 / 6, (at - Date.parse(begin.at)) / RATE_OVER_MS);
    return { at, value: Math.max(0, (sample.completed - begin.completed) / minutes) };
  });
}
