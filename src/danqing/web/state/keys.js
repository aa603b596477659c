// The keys that the administrator has handed out.
import * as api from "../lib/api.js";
import { note } from "./gallery.js";
import { change } from "./store.js";

export async function readKeys() {
  try {
    change({ keys: await api.keys() });
  } catch (error) {
    note(error);
  }
}

/**
 * @param {string} name
 * @returns {Promise<string>} the key, which is told once
 */
export async function issueKey(name) {
  const { key } = await api.issueKey(name);
  void readKeys();
  return key;
}

/** @param {string} id */
export async function revokeKey(id) {
  await api.revokeKey(id);
  await readKeys();
}
