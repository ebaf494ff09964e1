// The keyboard. Lists say what their keys do in their markup: rows carry data-row (and data-open, the address that
// Enter opens), buttons data-key. Keys count only where nobody is typing.
(() => {
  const palette = document.getElementById("palette");
  const go = { o: "/", u: "/updates", s: "/updates/seamless", q: "/queue", d: "/devices", g: "/groups", l: "/ledger", e: "/events" };
  let pending = "";

  const typing = (e) => e.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  const rows = () => [...document.querySelectorAll("[data-row]")];
  const current = () => document.querySelector("[data-row].at");

  const move = (step) => {
    const list = rows();
    if (!list.length) return;
    const at = list.indexOf(current());
    const next = list[Math.min(Math.max(at + step, 0), list.length - 1)];
    current()?.classList.remove("at");
    next.classList.add("at");
    next.tabIndex = -1;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  };
  const select = (whole) => {
    const box = whole ? document.querySelector("[data-select-page]") : current()?.querySelector("input[name=select]");
    if (box && !box.disabled) box.click();
  };
  // press finds the button of a key: on the row first, then anywhere.
  const press = (key) => {
    const button = current()?.querySelector(`[data-key="${key}"]`) ?? document.querySelector(`[data-key="${key}"]`);
    if (!button) return false;
    const form = button.closest("form[data-selection]");
    if (form && !form.querySelector("input[name=select]:checked, [data-select-all-matching]:checked")) select(false);
    button.click();
    return true;
  };
  const open = () => {
    if (!palette || palette.open) return;
    leaving = false;
    palette.showModal();
    const input = palette.querySelector("input");
    input.select();
    window.htmx?.trigger(input, "palette-open");
  };

  // The palette: arrows move, Enter follows; the same Enter must not search as well.
  let leaving = false;
  palette?.addEventListener("submit", (e) => { if (leaving) e.preventDefault(); });
  palette?.addEventListener("keydown", (e) => {
    const hits = [...palette.querySelectorAll("[data-hit]")];
    const at = hits.indexOf(palette.querySelector("[data-hit].at"));
    const mark = (i) => { hits.forEach((h, n) => { h.classList.toggle("at", n === i); h.closest("[role=option]").setAttribute("aria-selected", n === i); }); hits[i]?.scrollIntoView({ block: "nearest" }); };
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      if (hits.length) mark((at + (e.key === "ArrowDown" ? 1 : -1) + hits.length) % hits.length);
    } else if (e.key === "Enter" && hits.length) {
      const asked = palette.querySelector("input").value.trim();
      if (at < 0 && palette.querySelector("[data-for]")?.dataset.for !== asked) return; // not answered yet: search instead
      e.preventDefault();
      leaving = true;
      hits[Math.max(at, 0)].click();
    }
  });

  const plain = {
    j: () => move(1), k: () => move(-1), x: () => select(false), X: () => select(true), o: () => open1(),
    "?": () => document.getElementById("keys")?.showModal(),
    "/": () => (document.querySelector("[data-table-search]") ?? document.querySelector(".find input"))?.focus(),
  };
  const open1 = () => { const to = current()?.dataset.open; if (to) location.href = to; };

  document.addEventListener("keydown", (e) => {
    if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") { e.preventDefault(); open(); return; }
    if (e.key === "Escape" && typing(e)) { e.target.blur(); return; }
    if (e.ctrlKey || e.metaKey || e.altKey || typing(e) || document.querySelector("dialog[open]")) return;
    if (pending === "g") {
      pending = "";
      if (go[e.key]) { e.preventDefault(); location.href = go[e.key]; }
      return;
    }
    if (e.key === "g") { pending = "g"; setTimeout(() => { pending = ""; }, 1200); return; }
    if (e.key === "Enter" && e.target === current()) { open1(); return; }
    const f = plain[e.key];
    if (f) { e.preventDefault(); f(); return; }
    if (/^[a-z]$/.test(e.key) && press(e.key)) e.preventDefault();
  });
})();
