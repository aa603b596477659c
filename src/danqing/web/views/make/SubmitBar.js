// The button that makes pictures, and what it still waits for.
import { classes, html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { missing } from "../../state/form.js";
import { useStore } from "../../state/store.js";

const WORDS = /** @type {const} */ ({
  models: "needModels",
  prompt: "needPrompt",
  input: "needInput",
  mask: "needMask",
  control: "needControl",
});

export function SubmitBar() {
  const count = useStore((state) => state.form.count);
  const submitting = useStore((state) => state.submitting);
  const models = useStore((state) => state.models);
  const lacks = useStore(() => missing());
  const words = submitting ? t("sending") : lacks && models ? t(WORDS[lacks]) : t("goHint");
  return html`<div class="submit">
    <button class="main-button" type="submit" disabled=${Boolean(lacks) || submitting} aria-describedby="submit-hint">
      ${count > 1 ? t("goMany", { n: count }) : t("go")}
    </button>
    <p id="submit-hint" class=${classes("hint", !lacks && !submitting && "keys")}>${words}</p>
  </div>`;
}
