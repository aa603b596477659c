// Squares in rows, day by day. Only those near the window are in the document, however many there are.
import { daysOf, GAP, HEADING, picturesOf, placeBeside } from "../../lib/days.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../lib/html.js";
import { dayName, t } from "../../lib/i18n.js";
import { more, removeSoon } from "../../state/gallery.js";
import { useStore } from "../../state/store.js";
import { PictureTile } from "./PictureTile.js";

const SMALLEST = 168;
const SMALLEST_ON_PHONE = 104;
const AROUND = 600; // pixels above and below the window that are drawn too
const MOVES = /** @type {const} */ (["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Delete"]);

/** @typedef {import("../../lib/days.js").Day} Day */
/** @typedef {import("../../lib/days.js").Shown} Shown */

export function Grid() {
  const ids = useStore((state) => state.gallery.ids);
  const batches = useStore((state) => state.batches);
  const language = useStore((state) => state.settings.language);
  const { next, loading, failed } = useStore((state) => state.gallery);
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const focusNext = useRef(-1);
  const box = useWindowOver(place);

  const smallest = box.width < 640 ? SMALLEST_ON_PHONE : SMALLEST;
  const columns = Math.max(2, Math.floor((box.width + GAP) / (smallest + GAP)));
  const side = Math.max(1, (box.width - GAP * (columns - 1)) / columns);
  const shown = useMemo(() => picturesOf(ids, batches), [ids, batches]);
  const { days, height } = useMemo(() => daysOf(shown, columns, side), [shown, columns, side]);
  const nearEnd = box.top + box.height + AROUND >= height;

  useEffect(() => {
    if (nearEnd && next !== null && !loading && !failed && box.width > 0) void more();
  }, [nearEnd, next, loading, failed, box.width, height]);
  useLayoutEffect(() => {
    if (focusNext.current >= 0) focusOn(Math.min(focusNext.current, shown.length - 1));
    focusNext.current = -1;
  }, [shown]);

  /** @param {number} at */
  const focusOn = (at) => {
    const target = place.current?.querySelector(`[data-place="${at}"] .picture`);
    if (!(target instanceof HTMLElement)) return;
    target.focus();
    target.scrollIntoView({ block: "nearest" });
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    const key = MOVES.find((one) => one === event.key);
    const at = Number(/** @type {HTMLElement} */ (event.target).closest("[data-place]")?.getAttribute("data-place") ?? NaN);
    if (!key || Number.isNaN(at)) return;
    event.preventDefault();
    if (key === "Delete") {
      const job = shown[at]?.job;
      if (job && !event.repeat && removeSoon(job)) focusNext.current = at;
    } else if (key === "ArrowLeft" || key === "ArrowRight") focusOn(at + (key === "ArrowLeft" ? -1 : 1));
    else focusOn(placeBeside(days, columns, at, key === "ArrowUp" ? -1 : 1) ?? at);
  };
  const [from, to] = [box.top - AROUND, box.top + box.height + AROUND];
  const near = days.filter((day) => day.top + day.height >= from && day.top <= to);
  return html`<div class="grid" ref=${place} style=${{ height: `${height}px` }} onKeyDown=${keys}>
      ${near.map((day) => html`<${DayOfPictures} key=${day.key} day=${day} shown=${shown} columns=${columns} side=${side} from=${from} to=${to} language=${language} />`)}
    </div>
    ${next === null && shown.length > columns * 4 && html`<p class="end">${t("end")}</p>`}
    ${loading && html`<div class="loading" aria-hidden="true"><i></i></div>`}`;
}

/**
 * @param {{day: Day, shown: Shown[], columns: number, side: number, from: number, to: number}} props
 */
function DayOfPictures({ day, shown, columns, side, from, to }) {
  const row = side + GAP;
  const top = day.top + HEADING;
  const firstRow = Math.max(0, Math.floor((from - top) / row));
  const lastRow = Math.min(Math.ceil(day.count / columns), Math.ceil((to - top) / row));
  const cells = [];
  for (let at = firstRow * columns; at < Math.min(day.count, lastRow * columns); at += 1) {
    const picture = /** @type {Shown} */ (shown[day.first + at]);
    const style = {
      width: `${side}px`,
      height: `${side}px`,
      transform: `translate(${(at % columns) * row}px, ${HEADING + Math.floor(at / columns) * row}px)`,
    };
    cells.push(html`<li key=${picture.job.id} class="cell" data-place=${day.first + at} style=${style}>
      <${PictureTile} job=${picture.job} of=${Math.max(picture.batch.size, picture.batch.jobs.length)} />
    </li>`);
  }
  const id = `day-${day.first}`;
  return html`<section class="day" style=${{ top: `${day.top}px`, height: `${day.height}px` }} aria-labelledby=${id}>
    <h2 id=${id}>${dayName(day.at)}</h2>
    <ul>
      ${cells}
    </ul>
  </section>`;
}

/**
 * Which part of an element the window shows: from its top, in pixels.
 * @param {{current: HTMLElement | null}} place
 */
function useWindowOver(place) {
  const [box, setBox] = useState({ width: 0, top: 0, height: 0 });
  useLayoutEffect(() => {
    let asked = 0;
    const look = () => {
      asked = 0;
      const found = place.current?.getBoundingClientRect();
      if (!found) return;
      const next = { width: Math.floor(found.width), top: -found.top, height: innerHeight };
      setBox((before) => (Math.abs(before.top - next.top) < 40 && before.width === next.width && before.height === next.height ? before : next));
    };
    const later = () => {
      if (!asked) asked = requestAnimationFrame(look);
    };
    look();
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    return () => {
      removeEventListener("scroll", later);
      removeEventListener("resize", later);
      cancelAnimationFrame(asked);
    };
  }, []);
  return box;
}
