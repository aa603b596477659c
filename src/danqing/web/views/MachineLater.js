// The machine's view, which the first sight of the page does not need.
import { html, useEffect, useState } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { fetched } from "../lib/later.js";
import { note } from "../state/gallery.js";
import { useStore } from "../state/store.js";

export function MachineLater() {
  const connection = useStore((state) => state.connection);
  const [machine, setMachine] = useState(/** @type {typeof import("./machine/MachineView.js") | null} */ (null));
  useEffect(() => {
    if (machine || connection === "lost") return;
    fetched(import("./machine/MachineView.js")).then(setMachine, note);
  }, [connection]);
  return machine ? html`<${machine.MachineView} />` : html`<p class="nothing" role="status">${t("noSamples")}</p>`;
}
