// The log of an endpoint as it comes: lines are put at its foot, as many as a page keeps; who has scrolled up is told how
// many are new and is not moved. Times are said in the reader's zone.
"use strict";
(() => {
  const MOST = 1000, zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const two = (n, width = 2) => String(n).padStart(width, "0");
  const local = (root) => root.querySelectorAll("time[data-ms]:not([data-local])").forEach((time) => {
    const d = new Date(Number(time.dataset.ms));
    time.dataset.local = "1";
    time.textContent = two(d.getHours()) + ":" + two(d.getMinutes()) + ":" + two(d.getSeconds()) + "." + two(d.getMilliseconds(), 3);
  });

  class Logs extends HTMLElement {
    connectedCallback() {
      this.log = this.querySelector("#log");
      this.pill = this.querySelector("#pill");
      this.waiting = [];
      this.missed = 0;
      local(this.log);
      const told = document.getElementById("zone");
      if (told) told.textContent = "Times are of " + zone + "; UTC is in their titles.";
      const seq = this.dataset.around;
      if (seq) this.here(seq); else this.log.scrollTop = this.log.scrollHeight;
      this.log.addEventListener("scroll", () => { if (this.atFoot()) this.flush(); }, { passive: true });
      this.pill.addEventListener("click", () => { this.flush(); this.log.scrollTop = this.log.scrollHeight; });
      this.live = document.getElementById("live");
      if (this.live && this.dataset.follow) {
        this.live.hidden = false;
        this.live.addEventListener("click", () => { if (this.source) this.stop(); else this.follow(); });
        this.follow();
        this.counting = setInterval(() => this.count(), 30000);
      }
      const wrap = document.getElementById("wrap");
      wrap.hidden = false;
      const set = (on) => { this.log.classList.toggle("nowrap", !on); wrap.setAttribute("aria-pressed", on); };
      set(localStorage.getItem("runyard-wrap") !== "0");
      wrap.addEventListener("click", () => {
        const on = this.log.classList.contains("nowrap");
        localStorage.setItem("runyard-wrap", on ? "1" : "0");
        set(on);
      });
      const link = document.querySelector("[data-copy-here]");
      if (link) {
        link.hidden = false;
        link.addEventListener("click", async () => {
          await navigator.clipboard.writeText(location.href).catch(() => {});
          link.textContent = "Copied";
        });
      }
    }
    disconnectedCallback() { this.stop(); clearInterval(this.counting); }
    here(seq) {
      const line = [...this.log.children].find((row) => row.id.split("-")[1] === seq);
      if (!line) return;
      line.classList.add("here");
      line.scrollIntoView({ block: "center" });
    }
    atFoot() { return this.log.scrollTop + this.log.clientHeight > this.log.scrollHeight - 24; }
    follow() {
      this.source = new EventSource(this.dataset.follow);
      this.source.onmessage = (event) => this.take(event.data);
      this.live.setAttribute("aria-pressed", "true");
    }
    stop() {
      this.source?.close();
      this.source = null;
      this.live?.setAttribute("aria-pressed", "false");
    }
    take(html) {
      if (this.log.hidden) {
        this.log.hidden = false;
        document.getElementById("none")?.remove();
      }
      const fresh = document.createElement("template");
      fresh.innerHTML = html;
      const known = new Set(this.waiting.map((row) => row.id));
      const rows = [...fresh.content.children].filter((row) => !known.has(row.id) && !document.getElementById(row.id));
      if (!rows.length) return;
      if (this.atFoot() && !this.waiting.length) { this.put(rows); return; }
      this.missed += rows.length;
      this.waiting.push(...rows);
      if (this.waiting.length > MOST) this.waiting.splice(0, this.waiting.length - MOST);
      this.pill.hidden = false;
      this.pill.textContent = this.missed + " new ↓";
    }
    put(rows) {
      rows.forEach((row) => local(row));
      this.log.append(...rows);
      const over = this.log.children.length - MOST;
      for (let n = 0; n < over; n += 1) this.log.firstElementChild.remove();
      this.log.scrollTop = this.log.scrollHeight;
    }
    flush() {
      this.pill.hidden = true;
      this.missed = 0;
      if (this.waiting.length) this.put(this.waiting.splice(0));
    }
    // The drawing above goes on, too.
    async count() {
      if (document.hidden || !this.source) return;
      const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
      if (!answer?.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("hist");
      const old = document.getElementById("hist");
      if (fresh && old) old.replaceWith(document.adoptNode(fresh));
    }
  }
  customElements.define("ry-logs", Logs);
})();
