// The machine over time, as far as this page has watched it.
import * as api from "../lib/api.js";
import { note } from "./gallery.js";
import { change, now } from "./store.js";

const EVERY_MS = 2000;
const KEPT = 450; // samples: a quarter of an hour
let timer = 0;

/** Looks now and again, until it is told to stop. */
export function watchMachine() {
  const look = async () => {
    try {
      const machine = await api.machine();
      change({ samples: [...now().samples.slice(1 - KEPT), { at: Date.now(), machine }], connection: "fine" });
    } catch (error) {
      note(error);
    }
    timer = setTimeout(look, EVERY_MS);
  };
  clearTimeout(timer);
  void look();
  return () => clearTimeout(timer);
}
