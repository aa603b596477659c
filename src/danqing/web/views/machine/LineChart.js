// A figure, and how it came to be: one small line over time.
import { html } from "../../lib/html.js";

const WIDTH = 240;
const HEIGHT = 48;
const LEAST_MS = 5 * 60_000; // a line that has just begun does not fill the whole width
const GAP_MS = 30_000; // where nothing was noted for so long, the line is broken

/** @typedef {{at: number, value: number}} Point */

/**
 * points: in order of time. span: from when to when, in milliseconds; null: what the points need. most: the top.
 * @param {{title: string, value: string, points: Point[], span?: [number, number] | null, most?: number,
 *   note?: string}} props
 */
export function LineChart({ title, value, points, span = null, most, note }) {
  const top = most ?? Math.max(1, ...points.map((point) => point.value)) * 1.15;
  const end = span?.[1] ?? points.at(-1)?.at ?? 0;
  const begin = Math.min(span?.[0] ?? points[0]?.at ?? 0, end - LEAST_MS);
  const place = (/** @type {Point} */ point) =>
    `${(((point.at - begin) / (end - begin)) * WIDTH).toFixed(1)},${(HEIGHT - 1 - (Math.min(point.value, top) / top) * (HEIGHT - 2)).toFixed(1)}`;
  const lines = unbroken(points).map((line) => {
    const drawn = line.map(place).join(" ");
    const [first = "0,0"] = drawn.split(" ");
    const last = drawn.split(" ").at(-1) ?? first;
    return { drawn, area: `${first.split(",")[0]},${HEIGHT} ${drawn} ${last.split(",")[0]},${HEIGHT}` };
  });
  return html`<figure class="figure">
    <figcaption>${title}</figcaption>
    <p class="value">${value}${note && html`<small>${note}</small>`}</p>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
      ${lines.map(({ drawn, area }) => html`<polygon points=${area} /><polyline points=${drawn} />`)}
    </svg>
  </figure>`;
}

/** @param {Point[]} points */
function unbroken(points) {
  /** @type {Point[][]} */
  const lines = [];
  let before = -Infinity;
  for (const point of points) {
    if (point.at - before > GAP_MS) lines.push([]);
    lines.at(-1)?.push(point);
    before = point.at;
  }
  return lines;
}
