// What the browser keeps between visits. Where it keeps nothing, the page works all the same.

/**
 * @template T
 * @param {string} name
 * @param {T} otherwise
 * @returns {T}
 */
export function kept(name, otherwise) {
  try {
    const text = localStorage.getItem(`danqing.${name}`);
    return text === null ? otherwise : { ...otherwise, ...JSON.parse(text) };
  } catch {
    return otherwise;
  }
}

/**
 * @param {string} name
 * @param {object} value
 */
export function keep(name, value) {
  try {
    localStorage.setItem(`danqing.${name}`, JSON.stringify(value));
  } catch {
    // Full, or forbidden: it is forgotten with the page.
  }
}

/** The key of this server, from this tab or, if the person wished so, from this browser. */
export function keptKey() {
  try {
    return sessionStorage.getItem("danqing.key") || localStorage.getItem("danqing.key") || "";
  } catch {
    return "";
  }
}

/**
 * @param {string} key
 * @param {boolean} stay
 */
export function keepKey(key, stay) {
  try {
    sessionStorage.removeItem("danqing.key");
    localStorage.removeItem("danqing.key");
    if (key) (stay ? localStorage : sessionStorage).setItem("danqing.key", key);
  } catch {
    // It is asked for again next time.
  }
}
