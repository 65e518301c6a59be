// The palette (Ctrl K) and the keys that lead through pages. Without scripts, what it finds stands on /search.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const box = document.getElementById("palette");
  const input = box.querySelector("input"), list = document.getElementById("palette-list");
  const says = document.getElementById("palette-says"), toast = document.getElementById("toast");
  let at = 0, turn = 0, soon = 0;

  const options = () => all("a[role=option]", list);
  const mark = (to) => {
    const found = options();
    at = found.length ? (to + found.length) % found.length : 0;
    found.forEach((one, n) => one.setAttribute("aria-selected", n === at));
    if (found[at]) {
      input.setAttribute("aria-activedescendant", found[at].id);
      found[at].scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  };
  const look = async () => {
    const mine = ++turn;
    const answer = await fetch("/ui/search?q=" + encodeURIComponent(input.value)).catch(() => null);
    if (mine !== turn) return;
    if (!answer || !answer.ok) {
      if (answer && answer.status === 401) window.location.reload();
      says.textContent = "The server does not answer.";
      return;
    }
    // The server's own list, in which what others wrote is text.
    const html = await answer.text();
    if (mine !== turn) return;
    list.innerHTML = html;
    mark(0);
    const count = options().length;
    says.textContent = count ? count + " found" : "Nothing is found.";
  };
  const open = (text = "") => {
    if (box.open) return;
    input.value = text;
    box.showModal();
    input.focus();
    look();
  };
  input.addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(look, 80); });
  input.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    // A search field would only be emptied.
    if (event.key === "Escape") { event.preventDefault(); box.close(); }
    if (steps[event.key]) { event.preventDefault(); mark(at + steps[event.key]); }
  });
  // What is typed last may not have been looked for yet.
  input.form.addEventListener("submit", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    clearTimeout(soon);
    const chosen = at;
    await look();
    const found = options();
    if (found.length) { box.close(); window.location.assign(found[Math.min(chosen, found.length - 1)].href); }
  });
  list.addEventListener("click", (event) => { if (event.target.closest("a")) box.close(); });
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  all("[data-palette]").forEach((link) => link.addEventListener("click", (event) => { event.preventDefault(); open(); }));

  // The sheet of a narrow screen.
  const shut = () => { if (window.location.hash === "#menu") window.location.hash = "#main"; };

  const tell = (text) => {
    toast.textContent = text;
    setTimeout(() => { toast.textContent = ""; }, 2000);
  };
  const here = () => document.activeElement.closest("table.rows tbody tr, .list li");
  const copy = async (row = document.activeElement.closest("tr, li")) => {
    const link = row && row.querySelector("a.row, a.mono, .mono");
    const marked = row && row.dataset.id ? row : document.querySelector("[data-id]");
    const text = (marked && marked.dataset.id) || (link && (link.title || link.href?.split("/").pop().split("?")[0]));
    if (!text) return tell("Nothing here has an id.");
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    tell("Copied " + text);
  };

  // Rows that can be chosen have a box.
  const choose = () => {
    const pick = here()?.querySelector(".pick");
    if (pick) pick.click();
    else tell(document.querySelector(".pick") ? "Go to a row first: j and k." : "Rows of this page are not chosen.");
  };
  const drop = () => all(".pick:checked").forEach((pick) => pick.click());

  // What can be done with a row: by its links and buttons, and as with every row.
  const menu = document.getElementById("row-menu"), entries = document.getElementById("row-menu-list");
  const doings = (row) => {
    const link = row.querySelector("a.row[href]"), pick = row.querySelector(".pick"), found = [];
    if (link) found.push(["Open", () => link.click()]);
    found.push(["Copy its id", () => copy(row)]);
    if (pick) {
      found.push([pick.checked ? "Choose no more" : "Choose", () => pick.click()]);
      all("#bulk button").forEach((button) => found.push([button.textContent, () => {
        drop();
        pick.click();
        button.click();
      }]));
    }
    all("a[href]:not(.row), button", row).filter((one) => !one.hidden && !one.disabled).forEach((one) => {
      found.push([one.getAttribute("aria-label") || one.textContent.trim(), () => one.click()]);
    });
    return found.filter(([name]) => name);
  };
  const offer = () => {
    const row = here();
    if (!row) return tell("Go to a row first: j and k.");
    const name = row.querySelector("a.row, b, .mono");
    document.getElementById("row-menu-title").textContent = (name ? name.textContent : row.textContent).trim().slice(0, 80);
    entries.replaceChildren(...doings(row).map(([text, run]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("role", "menuitem");
      button.textContent = text;
      button.addEventListener("click", () => { menu.close(); run(); });
      return button;
    }));
    menu.showModal();
    entries.firstElementChild.focus();
  };
  menu.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key], items = [...entries.children];
    if (!by) return;
    event.preventDefault();
    items[(items.indexOf(document.activeElement) + by + items.length) % items.length].focus();
  });
  menu.addEventListener("click", (event) => { if (event.target === menu) menu.close(); });

  let before = "";
  const step = (by) => {
    const rows = all("table.rows tbody tr, .list li").filter((row) => row.querySelector("a.row"));
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    rows[Math.max(0, Math.min(rows.length - 1, at + by))].querySelector("a.row").focus();
  };
  const places = {
    o: "/", e: "/endpoints", j: "/jobs", k: "/keys", s: "/secrets", t: "/templates", v: "/volumes", a: "/activity",
    l: () => {
      const name = window.location.pathname.match(/^\/e\/([\w.-]+)/);
      return name ? "/e/" + name[1] + "/logs" : null;
    },
  };
  const go = (key) => {
    const place = typeof places[key] === "function" ? places[key]() : places[key];
    if (place) window.location.assign(place);
    else open("logs ");
  };
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
      if (event.target.closest(".xterm")) return;
      event.preventDefault();
      if (box.open) box.close();
      else open();
      return;
    }
    if (event.target.closest("input:not(.pick),textarea,select,dialog,.xterm") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (before === "g" && places[event.key]) { before = ""; go(event.key); return; }
    if (event.key === "/") {
      event.preventDefault();
      const filter = document.querySelector("[data-filter]");
      if (filter) filter.focus();
      else open();
    } else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "c") copy();
    else if (event.key === "x") choose();
    else if (event.key === ".") { event.preventDefault(); offer(); }
    else if (event.key === "r") window.location.reload();
    else if (event.key === "?") document.getElementById("keys").showModal();
    else if (event.key === "Escape") { shut(); drop(); }
    before = event.key;
  });
})();
