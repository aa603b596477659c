// Everything that was made, newest first.
import { html, useEffect } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { more, NO_FILTER, refresh, show } from "../../state/gallery.js";
import { useStore } from "../../state/store.js";
import { FilterBar } from "./FilterBar.js";
import { Grid } from "./Grid.js";

export function GalleryView() {
  const gallery = useStore((state) => state.gallery);
  useEffect(() => void refresh(), []);
  const { text, model, mode } = gallery.filter;
  const isFiltered = Object.values(gallery.filter).some(Boolean);
  const isEmpty = gallery.known && gallery.ids.length === 0 && !gallery.loading && !gallery.failed;
  return html`<div class="gallery">
    <h1 class="unseen">${t("gallery")}</h1>
    <${FilterBar} />
    <${Grid} />
    ${isEmpty &&
    html`<section class="nothing">
      <div class="empty-art" aria-hidden="true"><i></i><i></i><i></i></div>
      <h2>${t(isFiltered ? "nothingFound" : "nothingYet")}</h2>
      <p>${t(!isFiltered ? "nothingYetText" : text && !model && !mode ? "nothingFoundText" : "nothingFitsText")}</p>
      ${isFiltered
        ? html`<button type="button" class="second-button" onClick=${() => void show(NO_FILTER)}>${t("clearFilter")}</button>`
        : html`<a class="second-button" href="#/make">${t("make")}</a>`}
    </section>`}
    ${gallery.failed &&
    html`<p class="nothing" role="alert">
      ${t("galleryFailed")}
      <button type="button" class="second-button" onClick=${() => void more()}>${t("retry")}</button>
    </p>`}
  </div>`;
}
