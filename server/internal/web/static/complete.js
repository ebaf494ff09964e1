// Completion inside expressions. A field with data-complete (the kind of expression) gets suggestions from the server for what
// stands before its cursor: arrows move, Enter or Tab takes one, Escape closes, Ctrl-Space asks. Without script the field stays a
// field, and the list of fields and functions stands below the form.
(() => {
  const list = document.createElement("ul");
  Object.assign(list, { id: "suggestions", className: "suggestions", hidden: true });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  let field, word = "", timer, asked;

  const options = () => [...list.querySelectorAll("[role=option]")];
  const marked = () => list.querySelector("[aria-selected=true]");
  const close = () => {
    clearTimeout(timer);
    asked?.abort();
    list.hidden = true;
    field?.removeAttribute("aria-activedescendant");
  };
  const mark = (option) => {
    marked()?.setAttribute("aria-selected", "false");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", option.id);
  };
  const take = (option) => {
    const at = field.selectionStart;
    field.setRangeText(option.dataset.text, at - word.length, at, "end");
    close();
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true })); // the preview follows
  };
  const ask = async () => {
    const wanted = field, before = field.value.slice(0, field.selectionStart);
    asked?.abort();
    asked = new AbortController();
    try {
      const query = new URLSearchParams({ kind: wanted.dataset.complete, before });
      const res = await fetch(`/tasks/complete?${query}`, { headers: { "HX-Request": "true" }, signal: asked.signal });
      if (!res.ok || wanted !== document.activeElement) return close();
      const piece = new DOMParser().parseFromString(await res.text(), "text/html").querySelector("[data-word]");
      word = piece.dataset.word;
      list.replaceChildren(...piece.querySelectorAll("[role=option]"));
      wanted.after(list);
      list.hidden = !list.children.length;
    } catch { close(); } // aborted, or the server is away: then there is nothing to suggest
  };

  document.addEventListener("input", (e) => {
    if (!e.target.dataset?.complete || !e.isTrusted) return;
    field = e.target;
    clearTimeout(timer);
    timer = setTimeout(ask, 120);
  });
  document.addEventListener("focusin", (e) => {
    if (!e.target.dataset?.complete) return;
    field = e.target;
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", list.id);
    if (!list.isConnected) field.after(list);
  });
  document.addEventListener("focusout", (e) => { if (e.target === field) close(); });
  list.addEventListener("mousedown", (e) => {
    e.preventDefault(); // the field keeps the focus
    const option = e.target.closest("[role=option]");
    if (option) take(option);
  });
  document.addEventListener("keydown", (e) => {
    if (!field || e.target !== field) return;
    if (e.ctrlKey && e.key === " ") { e.preventDefault(); ask(); return; }
    if (list.hidden) return;
    const all = options(), at = all.indexOf(marked());
    if (e.key === "ArrowDown") { e.preventDefault(); mark(all[(at + 1) % all.length]); }
    else if (e.key === "ArrowUp") { e.preventDefault(); mark(all[(at <= 0 ? all.length : at) - 1]); }
    else if (e.key === "Escape") { e.preventDefault(); e.stopPropagation(); close(); } // else the page's own Escape leaves the field
    else if ((e.key === "Enter" || e.key === "Tab") && at >= 0) { e.preventDefault(); take(all[at]); }
  }, true); // before the keys of the page
})();
