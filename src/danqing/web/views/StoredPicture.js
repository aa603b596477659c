// A stored picture; where its address has run out, a fresh one is asked for once.
import * as api from "../lib/api.js";
import { html, useState } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { learnJob } from "../state/batches.js";
import { titleOf } from "./titles.js";

/**
 * @param {{job: import("../state/types.js").Job, picture: import("../state/types.js").PictureView, lazy?: boolean,
 *   alt?: string}} props
 */
export function StoredPicture({ job, picture, lazy = false, alt = titleOf(job) }) {
  const [failed, setFailed] = useState("");
  const renew = async () => {
    if (failed) return setFailed("gone");
    setFailed("once");
    try {
      learnJob(await api.job(job.id));
    } catch {
      setFailed("gone");
    }
  };
  if (failed === "gone") return html`<span class="gone">${t("pictureGone")}</span>`;
  return html`<img
    src=${api.at(picture.url)}
    alt=${alt}
    width=${picture.width}
    height=${picture.height}
    loading=${lazy ? "lazy" : "eager"}
    decoding="async"
    draggable=${false}
    onError=${renew}
  />`;
}
