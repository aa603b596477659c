// The request of a picture as a program would send it.

/** @typedef {import("../state/types.js").Job} Job */

/**
 * @param {Job} job
 */
function requestOf(job) {
  const { request } = job;
  if (request.mode === "upscale") return { prompt: request.prompt, mode: request.mode };
  /** @type {Record<string, unknown>} */
  const wanted = { prompt: request.prompt, mode: request.mode, model: request.model };
  if (request.negative_prompt) wanted.negative_prompt = request.negative_prompt;
  wanted.width = request.width;
  wanted.height = request.height;
  wanted.num_inference_steps = request.num_inference_steps;
  wanted.guidance_scale = request.guidance_scale;
  wanted.seed = request.seed;
  if (request.strength !== null) wanted.strength = request.strength;
  if (request.control_preprocess) wanted.control_preprocess = request.control_preprocess;
  if (request.controlnet_conditioning_scale !== null) {
    wanted.controlnet_conditioning_scale = request.controlnet_conditioning_scale;
  }
  if (request.loras.length) wanted.loras = request.loras;
  if (request.step_cache) wanted.step_cache = request.step_cache;
  if (request.upscale) wanted.upscale = true;
  return wanted;
}

/**
 * Field and file name of each picture that is sent along.
 * @param {Job} job
 * @returns {[string, string][]}
 */
function filesOf(job) {
  /** @type {[string, string][]} */
  const files = job.inputs.input_images.map((_, place) => ["input_image", `input-${place + 1}.png`]);
  if (job.inputs.mask) files.push(["mask_image", "mask.png"]);
  if (job.inputs.control_image) files.push(["control_image", "control.png"]);
  return files;
}

/**
 * @param {Job} job
 * @param {string} server
 * @param {boolean} needsKey
 */
export function asCurl(job, server, needsKey) {
  const request = JSON.stringify(requestOf(job), null, 1).replace(/\n\s*/g, " ");
  const lines = [`curl -X POST ${server}/studio/batches`];
  if (needsKey) lines.push('-H "Authorization: Bearer $DANQING_KEY"');
  lines.push(`-F 'request=${request.replaceAll("'", "'\\''")}'`);
  for (const [field, name] of filesOf(job)) lines.push(`-F ${field}=@${name}`);
  return lines.join(" \\\n  ");
}

/**
 * @param {Job} job
 * @param {string} server
 * @param {boolean} needsKey
 */
export function asPython(job, server, needsKey) {
  const files = filesOf(job).map(([field, name]) => `    ("${field}", open("${name}", "rb")),`);
  const headers = needsKey ? '\nheaders = {"Authorization": "Bearer " + os.environ["DANQING_KEY"]}' : "\nheaders = {}";
  return `import json${needsKey ? "\nimport os" : ""}
import time

import requests

server = "${server}"${headers}
wanted = ${pythonic(requestOf(job))}
parts = [
    ("request", (None, json.dumps(wanted))),
${[...files, "]"].join("\n")}
batch = requests.post(f"{server}/studio/batches", files=parts, headers=headers).json()
job = batch["jobs"][0]
while job["state"] not in ("completed", "failed", "cancelled"):
    time.sleep(0.5)
    job = requests.get(f"{server}/studio/jobs/{job['id']}", headers=headers).json()
picture = requests.get(server + job["pictures"]["original"]["url"], headers=headers)
open("picture.png", "wb").write(picture.content)
`;
}

/**
 * For Node and its like.
 * @param {Job} job
 * @param {string} server
 * @param {boolean} needsKey
 */
export function asJavaScript(job, server, needsKey) {
  const files = filesOf(job).map(([field, name]) => `body.append("${field}", await openAsBlob("${name}"), "${name}");`);
  const headers = needsKey ? "{ Authorization: `Bearer ${process.env.DANQING_KEY}` }" : "{}";
  return `import { ${files.length ? "openAsBlob, " : ""}writeFileSync } from "node:fs";

const server = "${server}";
const headers = ${headers};
const wanted = ${JSON.stringify(requestOf(job), null, 2)};
const body = new FormData();
body.append("request", JSON.stringify(wanted));
${[...files, ""].join("\n")}const batch = await (await fetch(server + "/studio/batches", { method: "POST", body, headers })).json();
let job = batch.jobs[0];
while (!["completed", "failed", "cancelled"].includes(job.state)) {
  await new Promise((resolve) => setTimeout(resolve, 500));
  job = await (await fetch(server + "/studio/jobs/" + job.id, { headers })).json();
}
const picture = await fetch(server + job.pictures.original.url, { headers });
writeFileSync("picture.png", Buffer.from(await picture.arrayBuffer()));
`;
}

/** @param {unknown} value */
function pythonic(value) {
  return JSON.stringify(value, null, 4)
    .replace(/^(\s*"[^"]+": |\s*)true(,?)$/gm, "$1True$2")
    .replace(/^(\s*"[^"]+": |\s*)null(,?)$/gm, "$1None$2");
}
