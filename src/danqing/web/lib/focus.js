// Where the focus goes when what had it is taken away.
import { useLayoutEffect, useRef } from "./html.js";

/**
 * For an element that can have the focus: it takes it over from a part of it that is gone, or disabled, once it was drawn
 * again. Whoever uses the keyboard stays where they were.
 */
export function useFocusKept() {
  const whole = useRef(/** @type {HTMLElement | null} */ (null));
  const had = whole.current?.contains(document.activeElement);
  useLayoutEffect(() => {
    const focused = document.activeElement;
    if (had && (focused === document.body || focused?.matches(":disabled"))) whole.current?.focus({ preventScroll: true });
  });
  return whole;
}
