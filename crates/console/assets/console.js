// What pages can do beyond reading and forms: copy, times that go on, a check of JSON, the foot of a log that is
// followed, and the word that says whether the page is live. Nothing here is needed to read or to send.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Times: the server says them once, they go on here.
  const ago = (at) => {
    const s = Math.floor((Date.now() - at) / 1000), n = Math.abs(s);
    const text = n < 60 ? n + " s" : n < 3600 ? Math.floor(n / 60) + " min" : n < 86400 ? Math.floor(n / 3600) + " h" : Math.floor(n / 86400) + " d";
    return s < 0 ? "in " + text : text + " ago";
  };
  const times = () => all("time[data-at]").forEach((time) => {
    const text = ago(Number(time.dataset.at));
    if (time.textContent !== text) time.textContent = text;
  });

  // Of tabs that are wider than the window, the open one is in sight.
  all(".tabs [aria-current]").forEach((tab) => {
    const bar = tab.closest(".tabs");
    bar.scrollLeft = tab.offsetLeft - bar.offsetLeft - (bar.clientWidth - tab.offsetWidth) / 2;
  });

  // Buttons that copy are there where scripts are.
  const copies = () => all("[data-copy][hidden]").forEach((button) => { button.hidden = false; });
  const copy = async (button) => {
    const text = button.dataset.copy || button.parentElement.querySelector("code").textContent;
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const word = button.dataset.word ||= button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = word; }, 1500);
  };

  // A log stays at its foot while somebody is there.
  let foot = true;
  const tail = () => {
    const log = document.querySelector("[data-tail]");
    if (log && foot) log.scrollTop = log.scrollHeight;
  };
  document.addEventListener("scroll", (event) => {
    const log = event.target;
    if (log.dataset && "tail" in log.dataset) foot = log.scrollTop + log.clientHeight > log.scrollHeight - 24;
  }, true);

  // JSON is checked as it is typed.
  const check = (area) => {
    const says = document.getElementById("json-says");
    if (!says) return;
    try {
      JSON.parse(area.value.trim() || "{}");
      says.textContent = "";
      says.className = "says";
    } catch (error) {
      says.textContent = "Not JSON yet: " + error.message;
      says.className = "says bad";
    }
  };

  // How many rows are chosen.
  const count = () => {
    const told = document.getElementById("chosen"), n = all(".pick:checked").length;
    if (told) told.textContent = n === 1 ? "1 job is chosen" : n + " jobs are chosen";
  };

  const settle = () => { copies(); times(); tail(); count(); };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
    const sure = event.target.closest("[data-sure]");
    if (sure && !window.confirm(sure.dataset.sure)) event.preventDefault();
  });
  document.addEventListener("change", (event) => { if (event.target.matches(".pick")) count(); });
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-json]")) check(event.target);
  });

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input,textarea,select");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && field && field.form) {
      event.preventDefault();
      field.form.requestSubmit();
    }
  });

  // Whether the page is live.
  const chip = (state, word) => {
    const live = document.getElementById("live-chip");
    if (!live || !live.dataset.on || live.dataset.state === state) return;
    live.dataset.state = state;
    live.textContent = word;
  };
  document.addEventListener("htmx:sse:after:connection", () => chip("live", "live"));
  document.addEventListener("htmx:sse:error", () => chip("paused", "paused"));
  document.addEventListener("htmx:sse:close", () => chip("paused", "paused"));
  document.addEventListener("htmx:after:swap", settle);
  document.addEventListener("gone", () => window.location.reload());

  // One press of a button is one request.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => { delete form.dataset.sent; }, 4000);
  });

  setInterval(times, 5000);
  settle();
  all("[data-json]").forEach(check);
})();
