// A figure, and how it came to be: one small line.
import { html } from "../../lib/html.js";

const WIDTH = 240;
const HEIGHT = 48;
const LEAST_POINTS = 30; // a line that has just begun does not fill the whole width

/**
 * @param {{title: string, value: string, points: number[], most?: number, note?: string}} props
 */
export function LineChart({ title, value, points, most, note }) {
  const top = most ?? Math.max(1, ...points) * 1.15;
  const step = WIDTH / Math.max(LEAST_POINTS, points.length - 1);
  const start = WIDTH - step * (points.length - 1);
  const line = points.map((point, place) => `${(start + place * step).toFixed(1)},${(HEIGHT - (point / top) * HEIGHT).toFixed(1)}`);
  return html`<figure class="figure">
    <figcaption>${title}</figcaption>
    <p class="value">${value}${note && html`<small>${note}</small>`}</p>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <polygon points=${`${start.toFixed(1)},${HEIGHT} ${line.join(" ")} ${WIDTH},${HEIGHT}`} />
      <polyline points=${line.join(" ")} />
    </svg>
  </figure>`;
}
