// The lines of a photo, to show what a ControlNet will follow. As the server finds them (Canny with the same blur and
// thresholds), on a picture of the size of a thumbnail, so that fine lines may differ.

const SIDE = 384;
const LOW = 60;
const HIGH = 140;
const BLUR = [0.00443, 0.05401, 0.24204, 0.39905, 0.24204, 0.05401, 0.00443]; // sigma 1
const SMOOTH = [1, 2, 1];
const STEEP = 2.414213562; // tan 67.5°

/**
 * White lines on black.
 * @param {Blob} picture
 * @returns {Promise<string>} a data URL
 */
export async function edgesOf(picture) {
  const bitmap = await createImageBitmap(picture);
  const shrink = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * shrink));
  canvas.height = Math.max(1, Math.round(bitmap.height * shrink));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const lines = edges(image.data, canvas.width, canvas.height);
  for (let at = 0; at < lines.length; at += 1) {
    image.data[4 * at] = image.data[4 * at + 1] = image.data[4 * at + 2] = lines[at] ? 255 : 0;
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}

/**
 * @param {Uint8ClampedArray} rgba
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} 1 on lines
 */
export function edges(rgba, width, height) {
  const { strength, across, down } = gradient(rgba, width, height);
  const lines = new Uint8Array(width * height);
  /** @type {number[]} */
  const open = [];
  const weak = new Uint8Array(width * height);
  /** @type {(x: number, y: number) => number} */
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : Number(strength[y * width + x]));
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const place = y * width + x;
      const own = Number(strength[place]);
      if (own <= LOW) continue;
      const [dx, dy] = direction(Number(across[place]), Number(down[place]));
      if (!(own > at(x + dx, y + dy) && own >= at(x - dx, y - dy))) continue;
      weak[place] = 1;
      if (own > HIGH) open.push(place);
    }
  }
  for (let place = open.pop(); place !== undefined; place = open.pop()) {
    if (lines[place]) continue;
    lines[place] = 1;
    const x = place % width;
    for (let dy = -1; dy <= 1; dy += 1) {
      for (let dx = -1; dx <= 1; dx += 1) {
        const next = place + dy * width + dx;
        if (x + dx >= 0 && x + dx < width && weak[next] && !lines[next]) open.push(next);
      }
    }
  }
  return lines;
}

/**
 * The neighbour that the gradient points to.
 * @param {number} across
 * @param {number} down
 * @returns {[number, number]}
 */
function direction(across, down) {
  const wide = Math.abs(across);
  const tall = Math.abs(down);
  if (tall * STEEP <= wide) return [1, 0];
  if (wide * STEEP <= tall) return [0, 1];
  return across * down > 0 ? [1, 1] : [-1, 1];
}

/**
 * Of whichever channel changes most.
 * @param {Uint8ClampedArray} rgba
 * @param {number} width
 * @param {number} height
 */
function gradient(rgba, width, height) {
  const best = {
    strength: new Float32Array(width * height),
    across: new Float32Array(width * height),
    down: new Float32Array(width * height),
  };
  for (let channel = 0; channel < 3; channel += 1) {
    const flat = Float32Array.from({ length: width * height }, (_, place) => Number(rgba[4 * place + channel]));
    const soft = filtered(filtered(flat, width, height, BLUR, true), width, height, BLUR, false);
    const across = filtered(filtered(soft, width, height, SMOOTH, true), width, height, [-1, 0, 1], false);
    const down = filtered(filtered(soft, width, height, SMOOTH, false), width, height, [-1, 0, 1], true);
    for (let place = 0; place < flat.length; place += 1) {
      const strength = Math.hypot(Number(across[place]), Number(down[place]));
      if (strength <= Number(best.strength[place])) continue;
      best.strength[place] = strength;
      best.across[place] = Number(across[place]);
      best.down[place] = Number(down[place]);
    }
  }
  return best;
}

/**
 * The weighted sum of each value and its neighbours along one axis; the border repeats outwards.
 * @param {Float32Array} values
 * @param {number} width
 * @param {number} height
 * @param {number[]} weights
 * @param {boolean} upright
 */
function filtered(values, width, height, weights, upright) {
  const reach = weights.length >> 1;
  const sums = new Float32Array(values.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (let step = -reach; step <= reach; step += 1) {
        const nearX = upright ? x : Math.min(width - 1, Math.max(0, x + step));
        const nearY = upright ? Math.min(height - 1, Math.max(0, y + step)) : y;
        sum += Number(weights[step + reach]) * Number(values[nearY * width + nearX]);
      }
      sums[y * width + x] = sum;
    }
  }
  return sums;
}
