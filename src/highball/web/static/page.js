// What pages need beyond links and forms. Loaded in <head>, so that the theme is there before anything is drawn.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // --- theme: the server has set it, but for "system", which only the browser knows ---
  const applyTheme = () => {
    const theme = root.dataset.theme;
    root.classList.toggle("dark", theme === "dark" || (theme === "system" && dark.matches));
    for (const button of document.querySelectorAll("[data-choose-theme]")) {
      button.setAttribute("aria-pressed", String(button.dataset.chooseTheme === theme));
    }
  };
  applyTheme();
  dark.addEventListener("change", applyTheme);

  // --- news: parts that name the topic ask for themselves again; never under the focus, at most twice a second ---
  const due = new Set();
  let timer = null;
  const refresh = () => {
    timer = null;
    for (const part of [...due]) {
      if (!part.isConnected) due.delete(part);
      else if (!isBusy(part)) {
        due.delete(part);
        window.htmx?.trigger(part, "news");
      }
    }
    if (due.size) timer = setTimeout(refresh, 1000);
  };
  const isBusy = (part) => {
    const focus = document.activeElement;
    const typing = focus && part.contains(focus) && focus.matches("input, select, textarea, button");
    return typing || part.querySelector("details[data-menu][open], :popover-open") || document.hidden;
  };
  // A part that is about one thing only (data-only) does not hear of others.
  const tell = (topic, key) => {
    if (document.hidden) return; // all of it is asked for again once it is seen
    for (const part of document.querySelectorAll("[data-live]")) {
      if (key && part.dataset.only && part.dataset.only !== key) continue;
      if (topic === "*" || part.dataset.live.split(" ").includes(topic)) due.add(part);
    }
    if (due.size && !timer) timer = setTimeout(refresh, 500);
  };

  // --- the news: a worker hears them once for all tabs; where there is none, a page does while it is looked at ---
  const MOST_SILENT = 30000;
  const stream = () => document.querySelector("[data-stream]").dataset.stream;
  let over = false; // whether the session has ended: a part that was asked for before may still come
  const take = (message) => {
    const stale = document.querySelector("[data-stale]");
    const ended = document.querySelector("[data-ended]");
    if (message.topic === "lost") tell("*");
    else if (message.topic) tell(message.topic, message.key);
    if (!stale || message.topic) return;
    stale.hidden = !message.away;
    if (message.ended) over = true;
    if (message.here) over = false;
    ended.hidden = !over;
    if (message.away) stale.querySelector("[data-stale-since]").textContent = new Date(message.away).toLocaleTimeString();
  };
  // A worker that was ended by the browser tells nobody: who has not heard its beat for a while starts another.
  const joinWorker = (script) => {
    let port = null;
    let heard = 0;
    const join = () => { heard = Date.now(); port.postMessage({ join: stream() }); };
    const start = () => {
      const worker = new SharedWorker(script);
      port = worker.port;
      port.addEventListener("message", ({ data }) => { heard = Date.now(); if (!data.beat) take(data); });
      port.start();
      join();
    };
    const leave = () => port.postMessage({ left: true });
    start();
    setInterval(() => {
      if (Date.now() - heard < MOST_SILENT) return;
      leave();
      port.close();
      start();
    }, MOST_SILENT / 3);
    addEventListener("pagehide", leave);
    addEventListener("pageshow", (event) => { if (event.persisted) join(); });
  };
  const listenWhileSeen = async (script) => {
    const loaded = document.head.appendChild(Object.assign(document.createElement("script"), { src: script }));
    await new Promise((done) => loaded.addEventListener("load", done));
    const news = hearNews(take);
    const follow = () => { if (document.hidden) news.close(); else news.join(stream(), take); };
    follow();
    document.addEventListener("visibilitychange", follow);
    addEventListener("pagehide", news.close);
    addEventListener("pageshow", (event) => { if (event.persisted) follow(); });
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) tell("*"); });

  // --- a part that is asked for again and refused stays as it is, and that is said ---
  const failing = new Set();
  document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail.ctx?.response?.status;
    if (!status) return;
    const part = event.detail.ctx.sourceElement?.id;
    if (status < 400) failing.delete(part);
    else if (status !== 401) failing.add(part);
    const failed = document.querySelector("[data-failed]");
    const ended = document.querySelector("[data-ended]");
    if (failed) failed.hidden = !failing.size;
    if (status === 401) over = true;
    if (ended) ended.hidden = !over;
  });

  // A link's secret stands behind the #, which no server and no log ever sees.
  const takeFragment = () => {
    const held = document.querySelector("[data-hide-if-fragment]");
    if (!held || location.hash.length < 10) return;
    held.querySelector("input").value = location.hash.slice(1);
    held.hidden = true;
    history.replaceState(null, "", location.pathname);
  };
  addEventListener("hashchange", takeFragment);

  document.addEventListener("DOMContentLoaded", () => {
    applyTheme();
    const { news } = document.querySelector("[data-news]")?.dataset ?? {};
    if (news) (window.SharedWorker ? joinWorker : listenWhileSeen)(news);
    takeFragment();
    for (const part of document.querySelectorAll("[data-scripted]")) part.hidden = false;
    for (const part of document.querySelectorAll("[data-log]")) keepLog(part);
    for (const part of document.querySelectorAll("[data-zone]")) part.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
    guard();
    for (const tree of document.querySelectorAll(".tree")) settle(tree);
    document.querySelector(".errors-summary")?.focus();
    document.querySelector("[data-goes-on]")?.requestSubmit();
  });

  // --- a list: all that is shown is chosen at once; one that is not chosen takes the mark away ---
  const picksOf = (all) => [...document.querySelectorAll(`input[type=checkbox][form="${all.dataset.pickAll}"]`)];
  document.addEventListener("change", ({ target }) => {
    if (target.dataset.pickAll) for (const one of picksOf(target)) one.checked = target.checked;
    else for (const all of document.querySelectorAll("[data-pick-all]")) all.checked = picksOf(all).every((one) => one.checked);
  });

  // --- a log: what is new comes at its end, and is followed; what is sought is all that is shown ---
  const keepLog = (part) => {
    const box = part.querySelector(".log");
    const find = part.querySelector("[data-log-find]");
    const follow = part.querySelector("[data-log-follow]");
    const sift = () => {
      const sought = find.value.toLowerCase();
      for (const line of box.querySelectorAll("li:not(.none)")) line.hidden = !line.textContent.toLowerCase().includes(sought);
    };
    const toEnd = () => { if (follow?.checked) box.scrollTop = box.scrollHeight; };
    find.addEventListener("input", sift);
    follow?.addEventListener("change", toEnd);
    new MutationObserver(() => { sift(); toEnd(); }).observe(box.firstElementChild, { childList: true });
    toEnd();
  };

  // --- a tree: what lies in a ticked folder goes with it, one that is ticked in part says so; arrow keys lead on ---
  const settle = (tree) => {
    for (const box of tree.querySelectorAll(".under input[type=checkbox]")) {
      const above = box.closest(".under").closest(".entry").querySelector("input");
      if (above.checked && !box.disabled) box.dataset.goesWith = box.checked = box.disabled = true;
      else if (!above.checked && box.dataset.goesWith) { delete box.dataset.goesWith; box.checked = box.disabled = false; }
    }
    for (const box of tree.querySelectorAll(".entry > input")) {
      box.indeterminate = !box.checked && box.parentElement.querySelector(".under input:checked") !== null;
    }
  };
  const stop = (entry) => entry?.querySelector("input:enabled, summary");
  document.addEventListener("change", (event) => { const tree = event.target.closest(".tree"); if (tree) settle(tree); });
  document.addEventListener("htmx:after:swap", () => { for (const tree of document.querySelectorAll(".tree")) settle(tree); });
  document.addEventListener("keydown", (event) => {
    const entry = event.target.closest(".tree .entry");
    if (!entry || event.altKey || event.ctrlKey || event.metaKey) return;
    const rows = [...entry.closest(".tree").querySelectorAll(".entry")].filter((one) => one.checkVisibility() && stop(one));
    const here = rows.indexOf(entry);
    const details = entry.querySelector(":scope > details");
    const moves = {
      ArrowDown: () => rows[here + 1],
      ArrowUp: () => rows[here - 1],
      Home: () => rows[0],
      End: () => rows.at(-1),
      ArrowRight: () => { if (details?.open) return rows[here + 1]; if (details) details.open = true; },
      ArrowLeft: () => { if (!details?.open) return entry.parentElement.closest(".entry"); details.open = false; },
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    stop(moves[event.key]())?.focus();
  });

  // --- forms: sent once, and what they do is said on the button ---
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (form.dataset.asks && form.querySelector("[data-needs-asking]:checked")?.checkVisibility()) {
      event.preventDefault();
      ask(form.dataset.asks, event.submitter);
      return;
    }
    if (!("once" in form.dataset)) return;
    form.dataset.sent = "yes";
    const button = event.submitter;
    if (button?.dataset.busy) button.lastChild.textContent = button.dataset.busy;
    button?.setAttribute("aria-disabled", "true");
  });
  const busy = new WeakMap();
  document.addEventListener("htmx:before:request", (event) => {
    const button = event.detail.ctx?.sourceElement;
    if (!button?.dataset.busy) return;
    busy.set(button, button.lastChild.textContent);
    button.lastChild.textContent = button.dataset.busy;
    button.setAttribute("aria-disabled", "true");
  });
  document.addEventListener("htmx:finally:request", (event) => {
    const button = event.detail.ctx?.sourceElement;
    if (!busy.has(button)) return;
    button.lastChild.textContent = busy.get(button);
    button.removeAttribute("aria-disabled");
    busy.delete(button);
  });
  addEventListener("pageshow", () => { for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent; });

  // --- a form that was changed and not sent is not left without a question ---
  const guarded = new Map();
  const stateOf = (form) => JSON.stringify([...new FormData(form)].filter(([, value]) => typeof value === "string"));
  const guard = () => {
    for (const form of document.querySelectorAll("form[data-guard]")) guarded.set(form, form.dataset.guard === "changed" ? null : stateOf(form));
  };
  addEventListener("beforeunload", (event) => {
    for (const [form, before] of guarded) if (!form.dataset.sent && stateOf(form) !== before) event.preventDefault();
  });

  // --- questions: what the address of a question shows, in a dialog; where that does not work, on its page ---
  const ask = async (address, asker) => {
    const dialog = document.getElementById("question");
    if (dialog.open || asker.ariaBusy) return;
    const word = asker.lastChild.textContent;
    asker.ariaBusy = "true";
    if (asker.dataset.busy) asker.lastChild.textContent = asker.dataset.busy;
    const answer = await fetch(address, { headers: { "HX-Target": "dialog#question" } }).catch(() => null);
    if (!answer?.ok || answer.redirected) { location.assign(answer?.redirected ? answer.url : address); return; }
    dialog.innerHTML = await answer.text();
    asker.ariaBusy = null;
    asker.lastChild.textContent = word;
    asker.closest("details[data-menu]")?.removeAttribute("open");
    dialog.showModal();
  };

  document.addEventListener("click", (event) => {
    const asker = event.target.closest("a[data-asks]");
    if (asker && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); ask(asker.href, asker); }
    event.target.closest("[data-close]")?.closest("dialog").close();
    for (const menu of document.querySelectorAll("details[data-menu][open]")) if (!menu.contains(event.target)) menu.open = false;
    const copier = event.target.closest("[data-copy]");
    if (copier) navigator.clipboard?.writeText(document.getElementById(copier.dataset.copy).textContent);
    if (event.target.closest("[data-print]")) print();
    const theme = event.target.closest("[data-choose-theme]");
    if (theme) {
      event.preventDefault();
      root.dataset.theme = theme.dataset.chooseTheme;
      document.cookie = `theme=${theme.dataset.chooseTheme}; path=/; max-age=31536000; samesite=lax`;
      applyTheme();
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details[data-menu][open]");
    if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, textarea, select")) return;
    const search = document.querySelector("[type=search]");
    if (search) { event.preventDefault(); search.focus(); }
  });
})();
