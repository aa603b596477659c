// Pictures dropped or pasted anywhere on the page.
import { html, useLayoutEffect, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { filesIn } from "../../lib/pictures.js";
import { takeIn } from "../../state/inputs.js";
import { say } from "../../state/toasts.js";

export function DropZone() {
  const [over, setOver] = useState(false);
  // At once: what is dropped before would be opened by the browser instead.
  useLayoutEffect(() => {
    let depth = 0;
    /** @param {DragEvent} event */
    const enter = (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      depth += 1;
      setOver(true);
    };
    const leave = () => {
      depth = Math.max(0, depth - 1);
      if (depth === 0) setOver(false);
    };
    /** @param {DragEvent} event */
    const hold = (event) => event.preventDefault();
    /** @param {DragEvent} event */
    const drop = (event) => {
      depth = 0;
      setOver(false);
      if (event.defaultPrevented) return; // a field has taken it
      event.preventDefault();
      takeFrom(event.dataTransfer);
    };
    /** @param {ClipboardEvent} event */
    const paste = (event) => {
      if (event.defaultPrevented || filesIn(event.clipboardData).length === 0) return;
      event.preventDefault();
      takeFrom(event.clipboardData);
    };
    addEventListener("dragenter", enter);
    addEventListener("dragleave", leave);
    addEventListener("dragover", hold);
    addEventListener("drop", drop);
    addEventListener("paste", paste);
    return () => {
      removeEventListener("dragenter", enter);
      removeEventListener("dragleave", leave);
      removeEventListener("dragover", hold);
      removeEventListener("drop", drop);
      removeEventListener("paste", paste);
    };
  }, []);
  return over && html`<div class="drop-zone" aria-hidden="true"><p>${t("dropHere")}</p></div>`;
}

/** @param {DataTransfer | null} transfer */
function takeFrom(transfer) {
  const files = filesIn(transfer);
  if (files.length) void takeIn(files);
  else if (transfer?.files.length) say(t("notAPicture"), { kind: "error" });
}
