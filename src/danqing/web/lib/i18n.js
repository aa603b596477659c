// Words in the person's language, and numbers, sizes and dates as written there.
import { now } from "../state/store.js";
import { en } from "../words/en.js";
import { zh } from "../words/zh.js";

/** @typedef {keyof typeof en} Word */

const LANGUAGES = { en, zh };
const LOCALES = { en: "en-GB", zh: "zh-CN" };
const STEPS_S = /** @type {const} */ ([
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
]);

/** @returns {"en" | "zh"} as the browser prefers */
export function preferred() {
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function locale() {
  return LOCALES[now().settings.language];
}

/**
 * The text for a word; `{name}` in it becomes that value, `{name|one|other}` what goes with such a number.
 * @param {Word} word
 * @param {Record<string, string | number>} [values]
 */
export function t(word, values = {}) {
  return filled(LANGUAGES[now().settings.language][word], values);
}

/**
 * @param {string} text
 * @param {Record<string, string | number>} values
 */
export function filled(text, values) {
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (_, name, one, other) => {
    if (one === undefined) return String(values[name] ?? "");
    return new Intl.PluralRules(locale()).select(Number(values[name])) === "one" ? one : other;
  });
}

/**
 * @param {number} value
 * @param {number} [digits] after the point, at most
 */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);
}

/** @param {number} value */
export function percent(value) {
  return new Intl.NumberFormat(locale(), { style: "percent" }).format(value);
}

/** @param {number} bytes */
export function bytes(bytes) {
  const [unit, size] = bytes >= 1e9 ? ["gigabyte", 1e9] : bytes >= 1e6 ? ["megabyte", 1e6] : ["kilobyte", 1e3];
  const digits = bytes >= 100 * Number(size) ? 0 : 1;
  const options = { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits };
  return new Intl.NumberFormat(locale(), /** @type {Intl.NumberFormatOptions} */ (options)).format(bytes / Number(size));
}

/** @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t("seconds", { n: number(whole) });
  return t("minutes", { m: number(Math.floor(whole / 60)), s: number(whole % 60) });
}

/**
 * How long ago, for what is recent; else the date.
 * @param {string} moment
 */
export function ago(moment) {
  const seconds = (Date.now() - Date.parse(moment)) / 1000;
  if (seconds < 60) return t("justNow");
  if (seconds > 7 * 86400) return date(moment);
  const relative = new Intl.RelativeTimeFormat(locale(), { numeric: "auto" });
  for (const [unit, size] of STEPS_S) if (seconds >= size) return relative.format(-Math.floor(seconds / size), unit);
  return date(moment);
}

/**
 * Today, yesterday, or the date: with the day of the week, or with the year where it is another one.
 * @param {string} moment
 */
export function dayName(moment) {
  const day = new Date(moment);
  const today = new Date();
  const ago = Math.round((startOf(today) - startOf(day)) / 86_400_000);
  if (ago === 0 || ago === 1) {
    const name = new Intl.RelativeTimeFormat(locale(), { numeric: "auto" }).format(-ago, "day");
    return name.charAt(0).toUpperCase() + name.slice(1);
  }
  const isThisYear = day.getFullYear() === today.getFullYear();
  /** @type {Intl.DateTimeFormatOptions} */
  const more = isThisYear ? { weekday: "long" } : { year: "numeric" };
  return new Intl.DateTimeFormat(locale(), { day: "numeric", month: "long", ...more }).format(day);
}

/** @param {Date} day */
function startOf(day) {
  return new Date(day.getFullYear(), day.getMonth(), day.getDate()).getTime();
}

/** @param {string} moment */
export function date(moment) {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(new Date(moment));
}
