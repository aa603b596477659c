// Where each picture of a long history lies: squares in rows, a heading above those of each day. Knows no document.

/** @typedef {import("../state/types.js").Batch} Batch */
/** @typedef {import("../state/types.js").Job} Job */
/** @typedef {{job: Job, batch: Batch}} Shown */
/**
 * top, height: of the day with its heading, in pixels. first: the place of its first picture among all.
 * @typedef {{key: string, at: string, top: number, height: number, first: number, count: number}} Day
 */

export const GAP = 8;
export const HEADING = 44;
const BETWEEN_DAYS = 16;

/**
 * The pictures of these batches, and those that are on their way to be some.
 * @param {string[]} ids
 * @param {Map<string, Batch>} batches
 */
export function picturesOf(ids, batches) {
  /** @type {Shown[]} */
  const shown = [];
  for (const id of ids) {
    const batch = batches.get(id);
    for (const job of batch?.jobs ?? []) {
      if (batch && (job.pictures.original || !["failed", "cancelled"].includes(job.state))) shown.push({ job, batch });
    }
  }
  return shown;
}

/**
 * @param {Shown[]} shown
 * @param {number} columns
 * @param {number} side of a square
 */
export function daysOf(shown, columns, side) {
  /** @type {Day[]} */
  const days = [];
  let top = 0;
  shown.forEach(({ batch }, place) => {
    const key = new Date(batch.created_at).toDateString();
    const last = days.at(-1);
    if (last?.key === key) last.count += 1;
    else days.push({ key, at: batch.created_at, top: 0, height: 0, first: place, count: 1 });
  });
  for (const day of days) {
    day.top = top;
    day.height = HEADING + Math.ceil(day.count / columns) * (side + GAP) - GAP;
    top += day.height + BETWEEN_DAYS;
  }
  return { days, height: Math.max(0, top - BETWEEN_DAYS) };
}

/**
 * The place of the picture above or below, in the same column or the last one of a shorter row; null at the ends.
 * @param {Day[]} days
 * @param {number} columns
 * @param {number} place
 * @param {1 | -1} way
 */
export function placeBeside(days, columns, place, way) {
  const at = days.findIndex((day) => place >= day.first && place < day.first + day.count);
  const day = days[at];
  if (!day) return null;
  const column = (place - day.first) % columns;
  const row = Math.floor((place - day.first) / columns) + way;
  if (row >= 0 && row * columns < day.count) return day.first + Math.min(day.count - 1, row * columns + column);
  const other = days[at + way];
  if (!other) return null;
  const start = way > 0 ? 0 : Math.floor((other.count - 1) / columns) * columns;
  return other.first + Math.min(other.count - 1, start + column);
}
