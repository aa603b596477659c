// The machine: as it is now, and as each host that answers remembers its last hour.
import * as api from "../lib/api.js";
import { note } from "./gallery.js";
import { change, now } from "./store.js";

/** @typedef {import("./types.js").Machine} Machine */
/** @typedef {import("./types.js").Sample} Sample */
/** @typedef {import("./types.js").Host} Host */

const EVERY_MS = 2000;
const KEPT_MS = 3_600_000;
const GONE_MS = 60_000; // a host that has not answered for so long is shown no more, if others do
let timer = 0;

/** Looks now and again, until it is told to stop. */
export function watchMachine() {
  let stopped = false;
  const look = async () => {
    const since = newestOfAll();
    try {
      take(await api.machine(since), since);
    } catch (error) {
      note(error);
    } finally {
      if (!stopped) timer = setTimeout(look, EVERY_MS);
    }
  };
  void look();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** From when on the page lacks samples, whichever host answers; null: of some it lacks all. */
function newestOfAll() {
  const hosts = [...(now().machine?.hosts.values() ?? [])];
  if (hosts.length === 0 || hosts.some((host) => !host.whole)) return null;
  const ends = hosts.map((host) => host.samples.at(-1)?.at ?? "").sort();
  return ends[0] || null;
}

/**
 * @param {Machine} machine
 * @param {string | null} since what was asked for
 */
function take(machine, since) {
  const { host } = machine;
  const hosts = new Map(now().machine?.hosts);
  const known = hosts.get(host.id);
  const whole = Boolean(known?.whole) || since === null || (host.since !== null && host.since > since);
  const samples = joined(known?.samples ?? [], machine.samples ?? []); // an older server remembers none
  hosts.set(host.id, { load: host, samples, whole, seen: Date.now() });
  for (const [id, one] of hosts) if (one.seen < Date.now() - GONE_MS) hosts.delete(id);
  change({ machine: { latest: machine, hosts }, connection: "fine" });
}

/**
 * Processes of one host each remember it by themselves: of both every moment once, in order.
 * @param {Sample[]} known
 * @param {Sample[]} told
 */
function joined(known, told) {
  if (told.length === 0) return known;
  const moments = new Map(known.map((sample) => [sample.at, sample]));
  for (const sample of told) moments.set(sample.at, sample);
  const all = [...moments.values()].sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
  const oldest = Date.parse(all.at(-1)?.at ?? "") - KEPT_MS;
  return all.filter((sample) => Date.parse(sample.at) >= oldest);
}
