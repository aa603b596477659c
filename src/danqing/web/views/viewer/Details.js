// Everything that a picture was made with.
import * as api from "../../lib/api.js";
import { html } from "../../lib/html.js";
import { bytes, date, duration, number, t } from "../../lib/i18n.js";
import { saidBy } from "../../lib/said.js";
import { now, useStore } from "../../state/store.js";
import { EnlargeButton } from "../EnlargeButton.js";
import { MODE_WORDS } from "../make/Modes.js";
import { titleOf } from "../titles.js";
import { BatchStrip } from "./BatchStrip.js";

/**
 * Whose it is, where several people's are shown.
 * @param {import("../../state/types.js").Job} job
 */
function ownerOf(job) {
  const { caller, batches, keys } = now();
  const owner = batches.get(job.batch_id)?.owner;
  if (!owner || !caller?.manages_keys) return null;
  return keys?.find((key) => key.owner === owner)?.name ?? owner;
}

/** @param {{job: import("../../state/types.js").Job}} props */
export function Details({ job }) {
  const { request, pictures, inputs } = job;
  const notes = job.notes ?? []; // an older server tells none
  const wasDrawn = request.mode !== "upscale";
  const models = useStore((state) => state.models);
  const title = models?.find((model) => model.id === request.model)?.title ?? request.model;
  const seconds = job.started_at && job.finished_at ? (Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000 : null;
  /** @type {[string, string | null][]} */
  const rows = [
    [t("model"), wasDrawn ? title : null],
    [t("filterMode"), t(MODE_WORDS[request.mode])],
    [t("size"), `${request.width} × ${request.height}`],
    [t("steps"), wasDrawn ? number(request.num_inference_steps) : null],
    [t("guidance"), request.guidance_scale ? number(request.guidance_scale, 2) : null],
    [t("seed"), wasDrawn ? request.seed : null],
    [t("strength"), request.strength === null ? null : number(request.strength, 2)],
    [t("conditioning"), request.controlnet_conditioning_scale === null ? null : number(request.controlnet_conditioning_scale, 2)],
    [t("loras"), request.loras.map((lora) => `${lora.name} × ${number(lora.scale, 2)}`).join(", ") || null],
    [t("stepCache"), request.step_cache ? number(request.step_cache, 2) : null],
    [t("owner"), ownerOf(job)],
    [t("made"), date(job.created_at)],
    [t("took"), seconds === null ? null : seconds < 10 ? t("seconds", { n: number(seconds, 1) }) : duration(seconds)],
    [t("file"), pictures.original?.size_bytes ? bytes(pictures.original.size_bytes) : null],
  ];
  const sources = [...inputs.input_images, ...[inputs.mask, inputs.control_image].flatMap((one) => one ?? [])];
  return html`<section class="details">
    <h2 class="unseen">${t("details")}</h2>
    <${BatchStrip} job=${job} />
    <p class="said">${titleOf(job)}</p>
    ${request.negative_prompt && html`<p class="said negative"><strong>${t("negative")}</strong>${request.negative_prompt}</p>`}
    ${notes.length > 0 &&
    html`<div class="adjusted">
      <strong>${t("adjusted")}</strong>
      ${notes.map(({ text, sentence }) => html`<p lang=${saidBy(sentence) ? null : "en"}>${saidBy(sentence) ?? text}</p>`)}
    </div>`}
    ${sources.length > 0 &&
    html`<div class="sources">${sources.map((source) => html`<figure key=${source.url}>
        <img src=${api.at(source.url)} alt=${`${t("before")}: ${source.width} × ${source.height}`} />
        ${inputs.input_images.includes(source) && html`<${EnlargeButton} picture=${source} read=${() => api.picture(source.url)} prompt=${request.prompt} />`}
      </figure>`)}</div>`}
    <dl>
      ${rows.map(([name, value]) => value !== null && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
  </section>`;
}
