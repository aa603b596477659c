// A mask as it is painted: strokes over a picture, white where it is made anew.

/**
 * Points are in pixels of the picture. erase: takes away what was painted.
 * @typedef {{points: [number, number][], size: number, erase: boolean} | "all" | "invert"} Stroke
 */

const COLOUR = "#ff2d63"; // seen on most pictures
const PAINTED = 127; // of an alpha up to 255: more counts as painted

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Stroke[]} strokes
 * @param {CanvasImageSource | null} base what the strokes begin with
 */
export function paint(context, strokes, base) {
  const { width, height } = context.canvas;
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, width, height);
  if (base) context.drawImage(base, 0, 0, width, height);
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = COLOUR;
  for (const stroke of strokes) {
    if (stroke === "all" || stroke === "invert") {
      context.globalCompositeOperation = stroke === "all" ? "source-over" : "xor";
      context.fillRect(0, 0, width, height);
    } else {
      drawLine(context, stroke.points, stroke.size, stroke.erase);
    }
  }
  context.globalCompositeOperation = "source-over";
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {[number, number][]} points
 * @param {number} size
 * @param {boolean} erase
 */
function drawLine(context, points, size, erase) {
  context.globalCompositeOperation = erase ? "destination-out" : "source-over";
  context.lineWidth = size;
  context.beginPath();
  const [first, ...others] = points;
  if (!first) return;
  context.moveTo(first[0], first[1]);
  if (others.length === 0) context.lineTo(first[0] + 0.01, first[1]);
  for (const [x, y] of others) context.lineTo(x, y);
  context.stroke();
}

/**
 * White on black, as the server takes it; null where nothing is painted.
 * @param {HTMLCanvasElement} painted
 * @returns {Promise<Blob | null>}
 */
export async function maskOf(painted) {
  const canvas = document.createElement("canvas");
  canvas.width = painted.width;
  canvas.height = painted.height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(painted, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  let any = false;
  for (let at = 0; at < image.data.length; at += 4) {
    const white = Number(image.data[at + 3]) > PAINTED;
    any ||= white;
    image.data[at] = image.data[at + 1] = image.data[at + 2] = white ? 255 : 0;
    image.data[at + 3] = 255;
  }
  if (!any) return null;
  context.putImageData(image, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/**
 * A mask as the server has it, as if it had been painted: white is, or where some of it is transparent, that is.
 * @param {Blob} mask
 * @returns {Promise<HTMLCanvasElement>}
 */
export async function paintedOf(mask) {
  const bitmap = await createImageBitmap(mask);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  let hasAlpha = false;
  for (let at = 3; at < image.data.length; at += 4) hasAlpha ||= image.data[at] !== 255;
  for (let at = 0; at < image.data.length; at += 4) {
    image.data[at + 3] = hasAlpha ? 255 - Number(image.data[at + 3]) : Number(image.data[at]);
  }
  context.putImageData(image, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = COLOUR;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}
