// What the first sight of the page does not need is fetched after it.
import { Unreachable } from "./api.js";

/**
 * Throws Unreachable where it cannot be fetched.
 * @template T
 * @param {Promise<T>} module
 * @returns {Promise<T>}
 */
export async function fetched(module) {
  try {
    return await module;
  } catch {
    throw new Unreachable("The server cannot be reached.");
  }
}
