"use strict";
(() => {
  let outer;
  try {
    outer = parent !== window && parent.document ? parent : null;
  } catch {
    outer = null;
  }
  if (!outer) return;
  // Airflow's own light or dark, which need not be the system's.
  const follow = () => {
    const root = outer.document.documentElement;
    document.documentElement.style.colorScheme = root.style.colorScheme || (root.classList.contains("dark") ? "dark" : "light");
  };
  follow();
  new outer.MutationObserver(follow).observe(outer.document.documentElement, { attributes: true });
  // Airflow's sandbox forbids a frame to open a page above itself, but its router listens to the history.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    outer.history.pushState(null, "", link.href);
    outer.dispatchEvent(new outer.PopStateEvent("popstate", { state: null }));
  });
})();
