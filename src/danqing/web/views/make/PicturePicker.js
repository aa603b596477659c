// A place to drop pictures on, or to choose files with.
import { classes, html, useRef } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { filesIn, isPicture } from "../../lib/pictures.js";
import { say } from "../../state/toasts.js";
import { Icon } from "../Icon.js";

/** @param {{small: boolean, several: boolean, take: (blobs: Blob[]) => Promise<void>}} props */
export function PicturePicker({ small, several, take }) {
  const file = useRef(/** @type {HTMLInputElement | null} */ (null));
  /** @param {DragEvent} event */
  const drop = (event) => {
    event.preventDefault();
    const files = filesIn(event.dataTransfer);
    if (files.length) void take(files);
    else say(t("notAPicture"), { kind: "error" });
  };
  /** @param {any} event */
  const choose = (event) => {
    const files = [...event.target.files].filter(isPicture);
    event.target.value = "";
    if (files.length) void take(files);
    else say(t("notAPicture"), { kind: "error" });
  };
  return html`<button type="button" class=${classes("picker", small && "small")} onClick=${() => file.current?.click()} onDrop=${drop}>
      <${Icon} name="add" />
      <span>${t("addPicture")}</span>
      ${!small && html`<small>${t("addHint")}</small>`}
    </button>
    <input
      ref=${file}
      class="unseen"
      type="file"
      tabindex="-1"
      aria-hidden="true"
      accept="image/png,image/jpeg,image/webp"
      multiple=${several}
      onChange=${choose}
    />`;
}
