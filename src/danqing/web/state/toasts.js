// Short notes at the edge of the page.
import { change, now } from "./store.js";

const SHOWN_MS = 8000;

/**
 * @param {string} text
 * @param {{kind?: "info" | "error", action?: {label: string, run: () => void} | null}} [options]
 */
export function say(text, { kind = "info", action = null } = {}) {
  const id = String(Math.random());
  const others = now().toasts.filter((toast) => toast.text !== text || toast.action);
  change({ toasts: [...others.slice(-2), { id, text, kind, action }] });
  setTimeout(() => dismiss(id), SHOWN_MS);
}

/** @param {string} id */
export function dismiss(id) {
  change({ toasts: now().toasts.filter((toast) => toast.id !== id) });
}
