// The seed: drawn anew each time, or kept.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { drawnSeed, fill } from "../../state/form.js";
import { useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";

const MOST = 2n ** 63n - 1n;

export function Seed() {
  const { seed, seedLocked } = useStore((state) => state.form);
  /** @param {any} event */
  const type = (event) => {
    const digits = event.target.value.replace(/\D/g, "");
    const next = digits === "" ? "" : String(BigInt(digits) > MOST ? MOST : BigInt(digits));
    event.target.value = next;
    fill({ seed: next, seedLocked: next !== "" });
  };
  const lock = () => fill({ seedLocked: !seedLocked, seed: seed || drawnSeed() });
  return html`<div class="field">
    <label for="seed">${t("seed")}</label>
    <div class="joined">
      <input
        id="seed"
        name="seed"
        inputmode="numeric"
        autocomplete="off"
        placeholder=${t("seedRandom")}
        value=${seedLocked ? seed : ""}
        onInput=${type}
      />
      <button type="button" title=${t("seedDice")} aria-label=${t("seedDice")} onClick=${() => fill({ seed: drawnSeed(), seedLocked: true })}>
        <${Icon} name="dice" />
      </button>
      <button
        type="button"
        title=${t(seedLocked ? "seedUnlock" : "seedLock")}
        aria-label=${t("seedLock")}
        aria-pressed=${seedLocked ? "true" : "false"}
        onClick=${lock}
      >
        <${Icon} name=${seedLocked ? "lock" : "unlock"} />
      </button>
    </div>
  </div>`;
}
