// The pictures of the form, kept in the browser's database, so that a page that is loaded again still has them.

/** @typedef {{inputs: Blob[], mask: Blob | null, control: Blob | null}} Pictures */

const NAME = "danqing";
const SHELF = "form";
const PLACE = "pictures";

/** @returns {Promise<Pictures | null>} null where there are none, or the browser keeps nothing */
export async function keptPictures() {
  try {
    return (await on("readonly", (shelf) => shelf.get(PLACE))) ?? null;
  } catch {
    return null;
  }
}

/** @param {Pictures} pictures */
export async function keepPictures(pictures) {
  try {
    await on("readwrite", (shelf) => shelf.put(pictures, PLACE));
  } catch {
    // Full, or forbidden: they are forgotten with the page.
  }
}

/**
 * @param {IDBTransactionMode} mode
 * @param {(shelf: IDBObjectStore) => IDBRequest} work
 * @returns {Promise<any>}
 */
async function on(mode, work) {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(SHELF);
  const database = await done(opening);
  try {
    return await done(work(database.transaction(SHELF, mode).objectStore(SHELF)));
  } finally {
    database.close();
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
