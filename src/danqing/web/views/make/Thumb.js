// A picture that the request starts from, small, with its size and a button to take it out.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { EnlargeButton } from "../EnlargeButton.js";
import { Icon } from "../Icon.js";

/**
 * @param {{picture: import("../../state/types.js").InputPicture, drop: () => void, mayEnlarge?: boolean}} props
 */
export function Thumb({ picture, drop, mayEnlarge = false }) {
  return html`<figure class="thumb">
    <img src=${picture.url} alt=${`${picture.width} × ${picture.height}`} />
    <figcaption>${picture.width} × ${picture.height}</figcaption>
    <button type="button" class="round small on-picture" aria-label=${t("removePicture")} onClick=${drop}>
      <${Icon} name="close" />
    </button>
    ${mayEnlarge && html`<${EnlargeButton} picture=${picture} read=${async () => picture.blob} prompt="" beside=${true} />`}
  </figure>`;
}
