// Pictures that a person drops, pastes or picks.

/** @typedef {import("../state/types.js").InputPicture} InputPicture */

const TAKEN = ["image/png", "image/jpeg", "image/webp"];

/** @param {Blob} blob */
export function isPicture(blob) {
  return TAKEN.includes(blob.type);
}

/**
 * Throws for what the browser cannot show as a picture.
 * @param {Blob} blob
 * @returns {Promise<InputPicture>}
 */
export async function pictureOf(blob) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  bitmap.close();
  return { id: String(Math.random()), blob, url: URL.createObjectURL(blob), width, height };
}

/**
 * @param {DataTransfer | null} transfer
 * @returns {File[]}
 */
export function filesIn(transfer) {
  return [...(transfer?.files ?? [])].filter(isPicture);
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
