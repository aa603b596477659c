// Squares in rows. Only those near the window are in the document, however many there are.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { more } from "../../state/gallery.js";
import { open } from "../../state/routes.js";
import { useStore } from "../../state/store.js";
import { BatchTile } from "./BatchTile.js";

const GAP = 8;
const SMALLEST = 168;
const SMALLEST_ON_PHONE = 104;
const ROWS_AROUND = 3;

export function Grid() {
  const ids = useStore((state) => state.gallery.ids);
  const batches = useStore((state) => state.batches);
  const { next, loading } = useStore((state) => state.gallery);
  const place = useRef(/** @type {HTMLElement | null} */ (null));
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

  const shown = ids.filter((id) => batches.has(id));
  const smallest = box.width < 640 ? SMALLEST_ON_PHONE : SMALLEST;
  const columns = Math.max(2, Math.floor((box.width + GAP) / (smallest + GAP)));
  const side = Math.max(1, (box.width - GAP * (columns - 1)) / columns);
  const row = side + GAP;
  const rows = Math.ceil(shown.length / columns);
  const firstRow = Math.max(0, Math.floor(box.top / row) - ROWS_AROUND);
  const lastRow = Math.min(rows, Math.ceil((box.top + box.height) / row) + ROWS_AROUND);
  const nearEnd = lastRow >= rows - ROWS_AROUND;

  useEffect(() => {
    if (nearEnd && next !== null && !loading && box.width > 0) void more();
  }, [nearEnd, next, loading, box.width]);

  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const at = Number(/** @type {HTMLElement} */ (event.target).closest("[data-place]")?.getAttribute("data-place"));
    if (!step || Number.isNaN(at)) return;
    const target = place.current?.querySelector(`[data-place="${at + step}"] button`);
    if (target instanceof HTMLElement) {
      event.preventDefault();
      target.focus();
      target.scrollIntoView({ block: "nearest" });
    }
  };
  const cells = [];
  for (let at = firstRow * columns; at < Math.min(shown.length, lastRow * columns); at += 1) {
    const id = /** @type {string} */ (shown[at]);
    const batch = batches.get(id);
    const style = {
      width: `${side}px`,
      height: `${side}px`,
      transform: `translate(${(at % columns) * row}px, ${Math.floor(at / columns) * row}px)`,
    };
    cells.push(html`<li key=${id} class="cell" data-place=${at} style=${style}>
      ${batch && html`<${BatchTile} batch=${batch} choose=${open} />`}
    </li>`);
  }
  return html`<ul class="grid" ref=${place} style=${{ height: `${Math.max(0, rows * row - GAP)}px` }} onKeyDown=${keys}>
      ${cells}
    </ul>
    ${next === null && shown.length > columns * 4 && html`<p class="end">${t("end")}</p>`}
    ${loading && html`<div class="loading" aria-hidden="true"><i></i></div>`}`;
}
