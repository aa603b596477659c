// Sizes of an aspect ratio that a model makes itself.

/** @typedef {import("../state/types.js").Model} Model */

export const RATIOS = /** @type {const} */ ([
  [1, 1],
  [4, 3],
  [3, 2],
  [16, 9],
  [3, 4],
  [2, 3],
  [9, 16],
]);
const USUAL_MULTIPLE = 8;

/**
 * About as many pixels as the model's usual size has.
 * @param {Model} model
 * @param {number} across
 * @param {number} down
 */
export function sizeFor(model, across, down) {
  const { width, height } = model.defaults;
  const multiple = model.sizes.multiple_of ?? USUAL_MULTIPLE;
  const unit = Math.sqrt((width * height) / (across * down));
  return { width: side(model, unit * across, multiple), height: side(model, unit * down, multiple) };
}

/**
 * The size nearest to a picture's own that the model takes.
 * @param {Model} model
 * @param {{width: number, height: number}} picture
 */
export function sizeLike(model, { width, height }) {
  const shrink = Math.min(1, model.max_side / Math.max(width, height));
  const multiple = model.sizes.multiple_of ?? 1;
  return { width: side(model, width * shrink, multiple), height: side(model, height * shrink, multiple) };
}

/**
 * @param {Model} model
 * @param {number} length
 * @param {number} multiple
 */
function side(model, length, multiple) {
  const rounded = Math.max(multiple, Math.round(length / multiple) * multiple);
  return Math.min(model.max_side, Math.max(model.min_side, rounded));
}
