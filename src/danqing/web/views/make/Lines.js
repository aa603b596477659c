// The lines that are found in a photo.
import { html, useEffect, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { fetched } from "../../lib/later.js";

/** @param {{picture: import("../../state/types.js").InputPicture}} props */
export function Lines({ picture }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    fetched(import("../../lib/edges.js"))
      .then(({ edgesOf }) => edgesOf(picture.blob))
      .then(setAddress, () => setAddress(""));
  }, [picture]);
  return (
    address &&
    html`<div class="thumbs">
      <figure class="thumb">
        <img src=${address} alt=${t("linesFound")} />
        <figcaption>${t("linesFound")}</figcaption>
      </figure>
    </div>`
  );
}
