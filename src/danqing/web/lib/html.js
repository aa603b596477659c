// Markup as tagged templates, and the hooks: what every view imports.
import htm from "../vendor/htm.mjs";
import { Fragment, h, render } from "../vendor/preact.mjs";

export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-hooks.mjs";
export { Fragment, render };

export const html = htm.bind(h);

/**
 * Class names of those that apply.
 * @param {...(string | false | null | undefined)} names
 */
export function classes(...names) {
  return names.filter(Boolean).join(" ");
}
