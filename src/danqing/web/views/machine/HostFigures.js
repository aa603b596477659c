// Processor and memory of a host.
import { html } from "../../lib/html.js";
import { bytes, percent, t } from "../../lib/i18n.js";
import { LineChart } from "./LineChart.js";
import { pointsOf } from "./points.js";

/**
 * named: there are several.
 * @param {{host: import("../../state/types.js").Host, named: boolean, span: [number, number]}} props
 */
export function HostFigures({ host, named, span }) {
  const { load, samples } = host;
  const name = load.name ?? load.id;
  return html`<section class="figures hosts" aria-label=${`${t("host")}: ${name}`}>
    ${named && html`<h2>${name}</h2>`}
    <${LineChart} title=${t("cpu")} value=${percent(load.cpu_percent / 100)} points=${pointsOf(samples, (one) => one.cpu_percent)} span=${span} most=${100} />
    <${LineChart}
      title=${t("hostMemory")}
      value=${bytes(load.memory_used_bytes)}
      note=${t("usedOf", { used: percent(load.memory_used_bytes / load.memory_total_bytes), total: bytes(load.memory_total_bytes) })}
      points=${pointsOf(samples, (one) => one.memory_used_bytes)}
      span=${span}
      most=${load.memory_total_bytes}
    />
  </section>`;
}
