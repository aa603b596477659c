// Hands out keys, and takes them back. For the administrator.
import { copyText } from "../../lib/clipboard.js";
import { html, useEffect, useState } from "../../lib/html.js";
import { date, dayName, t } from "../../lib/i18n.js";
import { issueKey, readKeys, revokeKey } from "../../state/keys.js";
import { useStore } from "../../state/store.js";
import { sayWhy } from "../../state/toasts.js";
import { Icon } from "../Icon.js";

const MOST_CHARS = 100;

export function Keys() {
  const keys = useStore((state) => state.keys);
  const [name, setName] = useState("");
  const [issued, setIssued] = useState("");
  const [asked, setAsked] = useState("");
  useEffect(() => void readKeys(), []);
  /** @param {() => Promise<void>} work */
  const trying = async (work) => {
    try {
      await work();
    } catch (error) {
      sayWhy(error);
    }
  };
  /** @param {Event} event */
  const issue = (event) => {
    event.preventDefault();
    void trying(async () => {
      setIssued(await issueKey(name));
      setName("");
    });
  };
  /** @param {string} id */
  const revoke = (id) => {
    if (asked !== id) return setAsked(id);
    setAsked("");
    void trying(() => revokeKey(id));
  };
  return html`<section class="key-ring" aria-labelledby="keys-title">
    <h2 id="keys-title">${t("keys")}</h2>
    <p class="hint">${t("keysText")}</p>
    <form class="key-form" onSubmit=${issue}>
      <label class="field">
        <span>${t("keyName")}</span>
        <input name="keyName" required maxlength=${MOST_CHARS} autocomplete="off" value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} />
      </label>
      <button class="second-button" type="submit"><${Icon} name="add" />${t("issueKey")}</button>
    </form>
    ${issued &&
    html`<div class="issued" role="status">
      <p>${t("keyOnce")}</p>
      <code>${issued}</code>
      <button type="button" class="plain-button" onClick=${() => void copyText(issued)}><${Icon} name="copy" />${t("copy")}</button>
      <button type="button" class="plain-button" onClick=${() => setIssued("")}>${t("hide")}</button>
    </div>`}
    ${keys && keys.length === 0 && html`<p class="hint">${t("noKeys")}</p>`}
    <ul>
      ${(keys ?? []).map(
        (key) => html`<li key=${key.id}>
          <strong>${key.name}</strong>
          <span class="hint">${t("issuedOn", { date: date(key.created_at) })}</span>
          <span class="hint">${key.last_used_on ? t("lastUsed", { date: dayName(`${key.last_used_on}T12:00:00`) }) : t("neverUsed")}</span>
          <button type="button" class="plain-button danger" aria-label=${`${t("revoke")}: ${key.name}`} onClick=${() => revoke(key.id)}>
            ${t(asked === key.id ? "revokeSure" : "revoke")}
          </button>
        </li>`,
      )}
    </ul>
  </section>`;
}
