// Asks for the key of this server.
import { html, useState } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { signIn } from "../../state/session.js";
import { useStore } from "../../state/store.js";
import { Choices } from "./Choices.js";
import { ConnectionBar } from "./ConnectionBar.js";

export function SignIn() {
  const refused = useStore((state) => state.signIn === "refused");
  const entering = useStore((state) => state.entering);
  const [key, setKey] = useState("");
  const [stay, setStay] = useState(false);
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    signIn(key.trim(), stay);
  };
  return html`<header class="bar">
      <div class="tools"><${Choices} /></div>
    </header>
    <${ConnectionBar} />
    <main class="sign-in">
      <form onSubmit=${submit}>
        <h1><span class="seal" aria-hidden="true">丹</span>${t("signInTitle")}</h1>
        <p>${t("signInText")}</p>
        <label class="field">
          <span>${t("key")}</span>
          <input
            type="password"
            name="key"
            autocomplete="current-password"
            required
            aria-invalid=${refused ? "true" : null}
            aria-describedby=${refused ? "key-refused" : null}
            value=${key}
            onInput=${(/** @type {any} */ event) => setKey(event.target.value)}
          />
        </label>
        ${refused && html`<p class="wrong" id="key-refused" role="alert">${t("keyRefused")}</p>`}
        <label class="tick">
          <input type="checkbox" checked=${stay} onChange=${(/** @type {any} */ event) => setStay(event.target.checked)} />
          <span>${t("stay")}</span>
        </label>
        <button class="main-button" type="submit" disabled=${entering}>${t("signIn")}</button>
      </form>
    </main>`;
}
