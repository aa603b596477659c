// Which view is shown, kept in the address so that "back" works: #/make, #/gallery, #/machine, #/gallery/<job id>.
import { change, now } from "./store.js";

const VIEWS = /** @type {const} */ (["make", "gallery", "machine"]);

/** @returns {import("./store.js").State["route"]} */
export function routeOf(/** @type {string} */ hash) {
  const [, view = "", jobId = ""] = hash.split("/");
  return { view: VIEWS.find((one) => one === view) ?? "make", jobId: jobId || null };
}

/** @param {"make" | "gallery" | "machine"} view */
export function go(view) {
  location.hash = `#/${view}`;
  change({ route: { view, jobId: null } }); // the next key may come before the browser tells of it
}

/**
 * For what takes a while and then shows its result on another view: not to one who has gone elsewhere meanwhile.
 * @returns {() => boolean} whether the page is where it is now
 */
export function whileHere() {
  const here = location.hash;
  return () => location.hash === here;
}

/** @param {string} jobId */
export function open(jobId) {
  const { view, jobId: open } = now().route;
  const hash = `#/${view}/${jobId}`;
  if (open) history.replaceState(null, "", hash);
  else location.hash = hash;
  change({ route: { view, jobId } });
}

export function close() {
  go(now().route.view);
}

export function watchAddress() {
  addEventListener("hashchange", () => change({ route: routeOf(location.hash) }));
}
