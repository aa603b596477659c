// The texts in a PNG file: tEXt, zTXt and iTXt.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MOST_TEXT_BYTES = 8 * 1024 * 1024;

/**
 * By keyword; empty for what is no PNG.
 * @param {Blob} file
 * @returns {Promise<Map<string, string>>}
 */
export async function pngTexts(file) {
  /** @type {Map<string, string>} */
  const texts = new Map();
  const head = new Uint8Array(await file.slice(0, 8).arrayBuffer());
  if (SIGNATURE.some((byte, place) => head[place] !== byte)) return texts;
  for (let at = 8; at + 12 <= file.size; ) {
    const chunk = new DataView(await file.slice(at, at + 8).arrayBuffer());
    const length = chunk.getUint32(0);
    const type = latin(new Uint8Array(chunk.buffer, 4, 4));
    if (["tEXt", "zTXt", "iTXt"].includes(type) && length <= MOST_TEXT_BYTES) {
      const bytes = new Uint8Array(await file.slice(at + 8, at + 8 + length).arrayBuffer());
      const read = await textIn(type, bytes).catch(() => null);
      if (read) texts.set(read[0], read[1]);
    }
    at += 12 + length;
  }
  return texts;
}

/**
 * @param {string} type
 * @param {Uint8Array} bytes
 * @returns {Promise<[string, string]>}
 */
async function textIn(type, bytes) {
  const end = bytes.indexOf(0);
  const keyword = latin(bytes.subarray(0, end));
  if (type === "tEXt") return [keyword, eitherWay(bytes.subarray(end + 1))];
  if (type === "zTXt") return [keyword, eitherWay(await inflated(bytes.subarray(end + 2)))];
  const packed = bytes[end + 1] === 1;
  const language = bytes.indexOf(0, end + 3);
  const text = bytes.subarray(bytes.indexOf(0, language + 1) + 1);
  return [keyword, new TextDecoder().decode(packed ? await inflated(text) : text)];
}

/**
 * The standard says Latin-1; most programs write UTF-8.
 * @param {Uint8Array} bytes
 */
function eitherWay(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return latin(bytes);
  }
}

/** @param {Uint8Array} bytes */
function latin(bytes) {
  return new TextDecoder("latin1").decode(bytes);
}

/** @param {Uint8Array} bytes */
async function inflated(bytes) {
  const stream = new Blob([/** @type {BlobPart} */ (bytes)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
