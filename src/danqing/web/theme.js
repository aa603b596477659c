// Runs before the first paint, so that a chosen theme does not flash.
(() => {
  const root = document.documentElement;
  try {
    const kept = JSON.parse(localStorage.getItem("danqing.settings") || "{}");
    if (kept.theme === "light" || kept.theme === "dark") root.dataset.theme = kept.theme;
    const language = kept.language || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
    root.lang = language === "zh" ? "zh-Hans" : "en";
  } catch {
    // Without storage the system's theme is used.
  }
})();
