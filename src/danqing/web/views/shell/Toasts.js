// Short notes, told to screen readers as they come.
import { useFocusKept } from "../../lib/focus.js";
import { classes, html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { useStore } from "../../state/store.js";
import { dismiss } from "../../state/toasts.js";
import { Icon } from "../Icon.js";

export function Toasts() {
  const toasts = useStore((state) => state.toasts);
  const whole = useFocusKept();
  return html`<div ref=${whole} class="toasts" role="status" aria-live="polite" tabindex="-1">
    ${toasts.map(
      ({ id, text, kind, action }) => html`<div key=${id} class=${classes("toast", kind === "error" && "bad")}>
        <p>${text}</p>
        ${action &&
        html`<button type="button" class="plain-button" onClick=${() => (dismiss(id), action.run())}>${action.label}</button>`}
        <button type="button" class="round small" aria-label=${t("dismiss")} onClick=${() => dismiss(id)}>
          <${Icon} name="close" />
        </button>
      </div>`,
    )}
  </div>`;
}
