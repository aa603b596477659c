// The newest batches, small, to go back to.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { change, useStore } from "../../state/store.js";
import { BatchTile } from "../gallery/BatchTile.js";

const SHOWN = 12;

export function Recent() {
  const ids = useStore((state) => state.gallery.ids);
  const batches = useStore((state) => state.batches);
  const stage = useStore((state) => state.stageBatch ?? state.gallery.ids[0]);
  const recent = ids.filter((id) => batches.has(id)).slice(0, SHOWN);
  if (recent.length < 2) return null;
  return html`<nav class="recent" aria-label=${t("recent")}>
    <header>
      <h2>${t("recent")}</h2>
      <a class="quiet" href="#/gallery">${t("allPictures")}</a>
    </header>
    <ul>
      ${recent.map((id) => {
        const batch = batches.get(id);
        return batch && html`<li key=${id}>
          <${BatchTile} batch=${batch} current=${id === stage} choose=${() => change({ stageBatch: id })} />
        </li>`;
      })}
    </ul>
  </nav>`;
}
