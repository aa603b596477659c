// The state of the page: one object, replaced piece by piece; whoever shows a piece is told when it changes.
import { useLayoutEffect, useState } from "../lib/html.js";

/** @typedef {import("./types.js").Batch} Batch */
/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Live} Live */

/**
 * @typedef {{theme: "system" | "light" | "dark", language: "en" | "zh", stayTaught: boolean}} Settings
 * @typedef {{id: string, text: string, kind: "info" | "error", action: {label: string, run: () => void} | null}} Toast
 * @typedef {{text: string, model: string, mode: string}} Filter
 * @typedef {{latest: import("./types.js").Machine, hosts: Map<string, import("./types.js").Host>}} Watched
 * @typedef {{
 *   settings: Settings,
 *   route: {view: "make" | "gallery" | "machine", jobId: string | null},
 *   connection: "fine" | "lost",
 *   entering: boolean,
 *   signIn: "no" | "needed" | "refused",
 *   caller: import("./types.js").Caller | null,
 *   models: import("./types.js").Model[] | null,
 *   upscaler: import("./types.js").Upscaler | null,
 *   form: import("./types.js").Form,
 *   inputs: import("./types.js").InputPicture[],
 *   mask: Blob | null,
 *   control: import("./types.js").InputPicture | null,
 *   submitting: boolean,
 *   stageBatch: string | null,
 *   batches: Map<string, Batch>,
 *   live: Map<string, Live>,
 *   gallery: {ids: string[], next: number | null, loading: boolean, failed: boolean, filter: Filter, known: boolean},
 *   removing: Set<string>,
 *   keys: import("./types.js").IssuedKey[] | null,
 *   machine: Watched | null,
 *   toasts: Toast[],
 *   said: Record<"en" | "zh", import("../lib/said.js").SaidWords> | null,
 * }} State
 */

/** @type {State} */
let state;
/** @type {Set<() => void>} */
const listeners = new Set();

/** @param {State} initial */
export function begin(initial) {
  state = initial;
}

/** @returns {State} */
export function now() {
  return state;
}

/** @param {Partial<State>} changes */
export function change(changes) {
  state = { ...state, ...changes };
  for (const listener of [...listeners]) listener();
}

/**
 * The piece of the state that a component shows; it is drawn again when the piece is another one.
 * @template T
 * @param {(state: State) => T} pick
 * @returns {T}
 */
export function useStore(pick) {
  const [, redraw] = useState(0);
  const piece = pick(state);
  useLayoutEffect(() => {
    let shown = piece;
    const look = () => {
      const next = pick(state);
      if (next !== shown) {
        shown = next;
        redraw((count) => count + 1);
      }
    };
    look();
    listeners.add(look);
    return () => {
      listeners.delete(look);
    };
  });
  return piece;
}

/**
 * Called at each change, outside any component.
 * @param {() => void} listener
 */
export function listen(listener) {
  listeners.add(listener);
}

/**
 * Waits until it is so.
 * @param {(state: State) => unknown} isSo
 * @returns {Promise<void>}
 */
export function until(isSo) {
  return new Promise((done) => {
    const look = () => {
      if (!isSo(state)) return;
      listeners.delete(look);
      done();
    };
    listeners.add(look);
    look();
  });
}
