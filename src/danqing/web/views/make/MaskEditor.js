// Paints a mask over a picture: with a mouse, a pen, a finger, or the keyboard.
import { html, useEffect, useRef, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { maskOf, paint, paintedOf } from "../../lib/mask.js";
import { paints, setInputs } from "../../state/inputs.js";
import { change, now } from "../../state/store.js";
import { EnlargeButton } from "../EnlargeButton.js";
import { Icon } from "../Icon.js";

/** @typedef {import("../../lib/mask.js").Stroke} Stroke */
/** @typedef {Exclude<Stroke, string>} Line */

const ARROWS = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
});

/** @param {{picture: import("../../state/types.js").InputPicture}} props */
export function MaskEditor({ picture }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const strokes = useRef(/** @type {Stroke[]} */ ([]));
  const base = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const drawn = useRef(/** @type {{pointerId: number, line: Line} | null} */ (null)); // by the pointer that is down
  const asked = useRef(0); // masks, of which the newest counts, whichever is ready last
  const [count, setCount] = useState(0);
  const [hasBase, setHasBase] = useState(false);
  const [erase, setErase] = useState(false);
  const [size, setSize] = useState(12); // hundredths of the picture's shorter side
  const [cursor, setCursor] = useState(/** @type {[number, number] | null} */ (null));
  const pixels = (size / 100) * Math.min(picture.width, picture.height);

  useEffect(() => {
    // A mask that came with a reused job is where painting begins.
    const given = now().mask;
    if (given) void paintedOf(given).then(begin);
  }, []);

  /** @param {HTMLCanvasElement} painted */
  const begin = (painted) => {
    base.current = painted;
    setHasBase(true);
    redraw();
    if (strokes.current.length) paints(done()); // made without it
  };
  const redraw = () => {
    const context = canvas.current?.getContext("2d");
    if (context) paint(context, strokes.current, base.current);
  };
  const done = async () => {
    setCount(strokes.current.length);
    if (!canvas.current) return;
    const mine = (asked.current += 1);
    const mask = await maskOf(canvas.current);
    if (mine === asked.current && now().inputs[0]?.id === picture.id) change({ mask });
  };
  /** @param {Stroke} stroke */
  const add = (stroke) => {
    strokes.current.push(stroke);
    redraw();
    paints(done());
  };
  /**
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  const place = (event) => {
    const box = /** @type {HTMLCanvasElement} */ (canvas.current).getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * picture.width,
      ((event.clientY - box.top) / box.height) * picture.height,
    ];
  };
  /** @param {PointerEvent} event */
  const down = (event) => {
    if (event.button !== 0 || drawn.current) return;
    event.preventDefault();
    /** @type {HTMLElement} */ (event.target).setPointerCapture(event.pointerId);
    const line = { points: [place(event)], size: pixels, erase };
    drawn.current = { pointerId: event.pointerId, line };
    strokes.current.push(line);
    redraw();
  };
  /** @param {PointerEvent} event */
  const move = (event) => {
    if (drawn.current && drawn.current.pointerId !== event.pointerId) return;
    setCursor(place(event));
    if (!drawn.current) return;
    drawn.current.line.points.push(place(event));
    redraw();
  };
  /** @param {PointerEvent} event */
  const up = (event) => {
    if (drawn.current?.pointerId !== event.pointerId) return;
    drawn.current = null;
    paints(done());
  };
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    const [x, y] = cursor ?? [picture.width / 2, picture.height / 2];
    const arrow = ARROWS[event.key];
    if (arrow) {
      const next = /** @type {[number, number]} */ ([
        Math.min(picture.width, Math.max(0, x + (arrow[0] * pixels) / 2)),
        Math.min(picture.height, Math.max(0, y + (arrow[1] * pixels) / 2)),
      ]);
      setCursor(next);
      if (event.shiftKey) add({ points: [[x, y], next], size: pixels, erase });
    } else if (event.key === " ") add({ points: [[x, y]], size: pixels, erase });
    else return;
    event.preventDefault();
  };
  const ring = cursor && {
    left: `${(cursor[0] / picture.width) * 100}%`,
    top: `${(cursor[1] / picture.height) * 100}%`,
    width: `${(pixels / picture.width) * 100}%`,
  };
  return html`<div class="mask">
    <div class="mask-picture" style=${{ "--wide": picture.width / picture.height }}>
      <img src=${picture.url} alt="" />
      <canvas
        ref=${canvas}
        width=${picture.width}
        height=${picture.height}
        tabindex="0"
        role="application"
        aria-label=${`${t("maskOf")}. ${t("maskKeys")}`}
        onPointerDown=${down}
        onPointerMove=${move}
        onPointerUp=${up}
        onPointerCancel=${up}
        onLostPointerCapture=${up}
        onPointerLeave=${() => setCursor(null)}
        onKeyDown=${key}
      ></canvas>
      ${ring && html`<i class="ring" style=${ring}></i>`}
      <button type="button" class="round small on-picture" aria-label=${t("removePicture")} onClick=${() => setInputs([])}>
        <${Icon} name="close" />
      </button>
      <${EnlargeButton} picture=${picture} read=${async () => picture.blob} prompt="" beside=${true} />
    </div>
    <div class="mask-tools">
      <button type="button" class="round small" aria-pressed=${!erase ? "true" : "false"} title=${t("brush")} aria-label=${t("brush")} onClick=${() => setErase(false)}><${Icon} name="brush" /></button>
      <button type="button" class="round small" aria-pressed=${erase ? "true" : "false"} title=${t("eraser")} aria-label=${t("eraser")} onClick=${() => setErase(true)}><${Icon} name="eraser" /></button>
      <input type="range" min="2" max="50" value=${size} aria-label=${t("brushSize")} title=${t("brushSize")} onInput=${(/** @type {any} */ event) => setSize(Number(event.target.value))} />
      <button type="button" class="round small" title=${t("undo")} aria-label=${t("undo")} disabled=${count === 0} onClick=${() => (strokes.current.pop(), redraw(), paints(done()))}><${Icon} name="undo" /></button>
      <button type="button" class="round small" title=${t("invert")} aria-label=${t("invert")} onClick=${() => add("invert")}><${Icon} name="invert" /></button>
      <button type="button" class="round small" title=${t("clear")} aria-label=${t("clear")} disabled=${count === 0 && !hasBase} onClick=${() => ((strokes.current = []), (base.current = null), setHasBase(false), redraw(), paints(done()))}><${Icon} name="remove" /></button>
    </div>
    <small>${t("maskOf")}</small>
  </div>`;
}
