// What script adds to pages that work without it: times in the viewer's zone, menus that close, toasts, the
// palette, the count of a selection, charts. Nothing here decides or changes anything by itself.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Times: the server writes UTC; the exact moment stays in the title.
  const nearby = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const times = (within) => all("time[datetime]:not([data-local])", within).forEach((t) => {
    const at = new Date(t.dateTime);
    if (isNaN(at)) return;
    t.textContent = nearby.format(at);
    t.dataset.local = "";
  });

  // Toasts: those of success go by themselves; all stay in the log under My account.
  const toasts = (within) => all("[data-toast]:not([data-shown])", within).forEach((t) => {
    t.dataset.shown = "";
    t.querySelector("[data-close]")?.addEventListener("click", () => t.remove());
    if (t.classList.contains("alert-success") && !t.querySelector("form")) setTimeout(() => t.remove(), 8000);
  });
  const say = (text, tone = "danger") => {
    const box = document.createElement("div");
    box.className = `alert alert-${tone} toast-line`;
    box.dataset.toast = "";
    const line = document.createElement("div");
    line.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "btn-close";
    close.dataset.close = "";
    close.setAttribute("aria-label", "Close");
    box.append(line, close);
    const list = document.getElementById("toasts");
    list?.append(box);
    toasts(list);
  };
  document.addEventListener("htmx:responseError", (e) => {
    const page = new DOMParser().parseFromString(e.detail.xhr.responseText, "text/html");
    say(page.querySelector("[data-problem-text]")?.textContent || `The server answered ${e.detail.xhr.status}.`);
  });
  document.addEventListener("htmx:sendError", () => say("The server cannot be reached."));

  // Selections: how many rows are chosen; "all on this page"; "all that match" outranks single rows.
  const selections = (within) => all("form[data-selection]", within).forEach((form) => {
    if (form.dataset.ready !== undefined) return;
    form.dataset.ready = "";
    const rows = () => all("input[name=select]", form);
    const matching = form.querySelector("[data-select-all-matching]");
    const page = form.querySelector("[data-select-page]");
    const update = () => {
      const n = rows().filter((r) => r.checked).length;
      form.querySelector("[data-selected]").textContent = matching?.checked ? "" : n ? `${n} selected` : "";
      rows().forEach((r) => { r.disabled = !!matching?.checked; r.closest("tr").classList.toggle("chosen", r.checked || !!matching?.checked); });
      if (page) { page.checked = n > 0 && n === rows().length; page.indeterminate = n > 0 && n < rows().length; }
    };
    page?.addEventListener("change", () => { rows().forEach((r) => { r.checked = page.checked; }); update(); });
    form.addEventListener("change", update);
    update();
  });

  // A search as you type changes the address and the rows, not what stands above them: exports, views and filters follow.
  const search = () => new URLSearchParams(location.search).get("search") ?? "";
  document.addEventListener("htmx:pushedIntoHistory", () => {
    all(".table-tools a[download]").forEach((a) => { a.href = new URL(a.href).pathname + location.search; });
    all(".table-tools .pop form[method=get]").forEach((form) => {
      form.querySelector("input[type=hidden][name=search]")?.remove();
      if (!search()) return;
      const kept = document.createElement("input");
      Object.assign(kept, { type: "hidden", name: "search", value: search() });
      form.append(kept);
    });
  });
  document.addEventListener("submit", (e) => {
    const query = e.target.matches(".table-tools form[action='/views']") && e.target.elements.query;
    if (!query) return;
    const saved = new URLSearchParams(query.value);
    if (search()) saved.set("search", search());
    else saved.delete("search");
    query.value = saved.toString();
  }, true);

  // Charts: the library is fetched only by pages that have one. data-chart is an ECharts option as JSON.
  let library;
  const charts = (within) => {
    const list = all("[data-chart]:not([data-drawn])", within);
    const source = document.body.dataset.echarts;
    if (!list.length || !source) return;
    library ??= new Promise((done) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = done;
      document.head.append(script);
    });
    library.then(() => list.forEach((element) => {
      element.dataset.drawn = "";
      const dark = document.documentElement.dataset.bsTheme === "dark" ? "dark" : null;
      const option = JSON.parse(element.dataset.chart);
      option.backgroundColor = "transparent";
      option.tooltip = { ...option.tooltip, renderMode: "richText" }; // no HTML, no inline style
      const chart = window.echarts.init(element, dark);
      chart.setOption(option);
      new ResizeObserver(() => chart.resize()).observe(element);
    }));
  };

  // Pieces that are told anew when something happens: the server sends them whole, and says when it stops.
  const follow = (within) => all("[data-stream]:not([data-followed])", within).forEach((box) => {
    box.dataset.followed = "";
    const source = new EventSource(box.dataset.stream);
    let piece;
    const show = () => {
      if (piece === undefined || box.contains(document.activeElement)) return; // not under the reader's hands
      box.innerHTML = piece;
      piece = undefined;
      dress(box);
    };
    source.addEventListener("piece", (e) => { piece = e.data; show(); });
    box.addEventListener("focusout", () => setTimeout(show));
    source.addEventListener("end", () => source.close());
    addEventListener("pagehide", () => source.close());
  });

  // Small things.
  const small = (within) => {
    all("[data-submit-on-change]", within).forEach((e) => { e.onchange = () => e.form.requestSubmit(); });
    all("[data-copy]", within).forEach((b) => { b.hidden = !navigator.clipboard; b.onclick = () => navigator.clipboard.writeText(document.getElementById(b.dataset.copy).textContent).then(() => say("Copied.", "success")); });
    all("[data-theme-toggle]", within).forEach((b) => { if (document.documentElement.dataset.bsTheme === "dark") { b.value = "light"; b.title = "Light"; b.setAttribute("aria-label", "Light theme"); } });
  };
  document.addEventListener("click", (e) => {
    all("details.pop[open], details.who[open]").forEach((d) => { if (!d.contains(e.target)) d.open = false; });
    if (e.target.closest("[data-keys-open]")) { e.preventDefault(); document.getElementById("keys")?.showModal(); }
    if (e.target.nodeName === "DIALOG") e.target.close(); // a click beside it
  });

  // A sign-in link carries its token behind the #, which browsers send to nobody.
  const form = document.querySelector("form[data-sign-in]");
  if (form) form.querySelector("details").open = location.hash.length > 1; // without script the field stays in sight
  if (form && location.hash.length > 1) {
    form.elements.token.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname + location.search);
    form.querySelector("button").focus();
  }

  const dress = (within) => [times, toasts, selections, charts, follow, small].forEach((f) => f(within));
  dress(document);
  document.addEventListener("htmx:load", (e) => dress(e.detail.elt.parentElement ?? document));
  window.assent = { say };
})();
