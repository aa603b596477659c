// What a picture is called where it cannot be seen.
import { t } from "../lib/i18n.js";

/** @param {import("../state/types.js").Job} job */
export function titleOf(job) {
  return job.request.prompt.trim() || t(job.request.mode === "upscale" ? "enlargedPicture" : "untitled");
}
