// Copies, and says whether that went well.
import { say } from "../state/toasts.js";
import { t } from "./i18n.js";

/** @param {string} text */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    say(t("copied"));
  } catch {
    say(t("notCopied"), { kind: "error" });
  }
}
