// Of what was noted about the machine, one figure over time.

/** @typedef {import("../../state/types.js").Sample} Sample */

/**
 * @param {Sample[]} samples
 * @param {(sample: Sample) => number | null} pick
 */
export function pointsOf(samples, pick) {
  return samples.flatMap((sample) => {
    const value = pick(sample);
    return value === null ? [] : [{ at: Date.parse(sample.at), value }];
  });
}
