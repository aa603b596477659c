// Short notes at the edge of the page.
import { hasKey, Refused, Unreachable } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { saidOf } from "../lib/said.js";
import { change, now } from "./store.js";

const SHOWN_MS = 8000;

/**
 * instead: the name of a note that takes the place of the one before it of that name.
 * @param {string} text
 * @param {{kind?: "info" | "error", action?: {label: string, run: () => void} | null, instead?: string}} [options]
 */
export function say(text, { kind = "info", action = null, instead = "" } = {}) {
  const id = `${instead}/${Math.random()}`;
  const others = now().toasts.filter(
    (toast) => (toast.text !== text || toast.action) && !(instead && toast.id.startsWith(`${instead}/`)),
  );
  change({ toasts: [...others.slice(-2), { id, text, kind, action }] });
  setTimeout(() => dismiss(id), SHOWN_MS);
}

/**
 * What went wrong, and what to do about it; where a key is asked for, so does the page.
 * @param {unknown} error
 */
export function sayWhy(error) {
  if (error instanceof Refused && error.status === 401) {
    change({ signIn: hasKey() ? "refused" : "needed", connection: "fine" });
  } else say(wordsFor(error), { kind: "error" });
}

/** @param {unknown} error */
function wordsFor(error) {
  if (error instanceof Refused) return saidOf(error, error.retryAfter);
  if (error instanceof Unreachable) return t("unreachable");
  return error instanceof Error ? error.message : String(error);
}

/** @param {string} id */
export function dismiss(id) {
  change({ toasts: now().toasts.filter((toast) => toast.id !== id) });
}
