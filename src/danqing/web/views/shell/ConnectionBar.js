// Says when the server does not answer.
import { html } from "../../lib/html.js";
import { t } from "../../lib/i18n.js";
import { useStore } from "../../state/store.js";
import { Icon } from "../Icon.js";

export function ConnectionBar() {
  const connection = useStore((state) => state.connection);
  return html`<div class="connection" role="status">
    ${connection === "lost" && html`<p><${Icon} name="warning" />${t("lost")}</p>`}
  </div>`;
}
