// Charts: each is drawn from the table that stands below it. One cursor goes over all charts of a page, a drag looks
// closer in all of them, a double click goes back. While the range ends now, the page is asked anew every ten seconds and
// its numbers take the place of the old ones; a chart that stays is fed, never made again.
"use strict";
(() => {
  const EVERY = 10000, PHONE = matchMedia("(max-width:640px)");
  const charts = new Set();
  const clock = (s, long) => {
    const d = new Date(s * 1000), two = (n) => String(n).padStart(2, "0");
    const time = two(d.getHours()) + ":" + two(d.getMinutes());
    return long ? two(d.getMonth() + 1) + "-" + two(d.getDate()) + " " + time + ":" + two(d.getSeconds()) : time;
  };
  const axis = (_, splits, __, ___, incr) => splits.map((s) => {
    const d = new Date(s * 1000), two = (n) => String(n).padStart(2, "0");
    if (incr >= 86400) return two(d.getMonth() + 1) + "-" + two(d.getDate());
    return clock(s) + (incr < 60 ? ":" + two(d.getSeconds()) : "");
  });
  const short = (n) => n >= 1e9 ? +(n / 1e9).toFixed(1) + "G" : n >= 1e6 ? +(n / 1e6).toFixed(1) + "M" : n >= 1e4 ? +(n / 1e3).toFixed(1) + "k" : String(+n.toFixed(n < 10 ? 3 : 1));
  const say = {
    count: short,
    seconds: (n) => n >= 3600 ? +(n / 3600).toFixed(1) + " h" : n >= 60 ? +(n / 60).toFixed(1) + " min" : n >= 1 ? +n.toFixed(2) + " s" : n === 0 ? "0" : +(n * 1000).toFixed(1) + " ms",
    bytes: (n) => n >= 1e9 ? +(n / 1e9).toFixed(2) + " GB" : n >= 1e6 ? +(n / 1e6).toFixed(1) + " MB" : n >= 1e3 ? +(n / 1e3).toFixed(1) + " KB" : n + " B",
    ratio: (n) => +(n * 100).toFixed(1) + " %",
    cores: (n) => +n.toFixed(2) + "",
    watts: (n) => +n.toFixed(0) + " W",
    celsius: (n) => +n.toFixed(0) + " °C",
  };

  // A value that has none beside it is seen as a point.
  const alone = (plot, n) => {
    const y = plot.data[n], lone = [];
    y.forEach((value, at) => { if (value != null && y[at - 1] == null && y[at + 1] == null) lone.push(at); });
    return lone.length ? lone : null;
  };

  class Chart extends HTMLElement {
    connectedCallback() {
      this.card = this.closest(".chart");
      charts.add(this);
      this.sizes = new ResizeObserver(() => {
        const size = this.size();
        if (this.plot && (size.width !== this.plot.width || size.height !== this.plot.height)) this.plot.setSize(size);
      });
      this.draw();
      this.sizes.observe(this);
    }
    disconnectedCallback() {
      charts.delete(this);
      this.sizes.disconnect();
      this.end();
    }
    end() {
      this.plot?.destroy();
      this.plot = null;
    }
    get table() { return this.card.querySelector("table.data"); }
    size() {
      return { width: Math.max(120, Math.floor(this.clientWidth)), height: this.card.classList.contains("wide") ? 420 : PHONE.matches ? 160 : 200 };
    }
    colour(tone) { return getComputedStyle(this).getPropertyValue("--" + tone).trim() || getComputedStyle(this).getPropertyValue("--muted").trim(); }

    // What the table says: columns with their numbers, and what is to be drawn of them, from the highest to the lowest.
    read() {
      const table = this.table, kind = table.dataset.kind;
      if (kind === "spans") return this.readSpans(table);
      const heads = [...table.tHead.rows[0].cells].slice(1);
      const columns = heads.map((head) => ({ name: head.textContent.replace(/ \([^)]*\)$/, ""), tone: head.dataset.tone, line: "line" in head.dataset || kind === "lines", before: "before" in head.dataset, raw: [] }));
      const x = [];
      for (const row of table.tBodies[0].rows) {
        x.push(Number(row.cells[0].dataset.at) / 1000);
        columns.forEach((column, n) => {
          const text = row.cells[n + 1].textContent;
          column.raw.push(text === "–" ? null : Number(text));
        });
      }
      let sum = x.map(() => 0);
      for (const column of columns) {
        if (column.line) { column.shown = column.raw; continue; }
        sum = sum.map((value, n) => value + (column.raw[n] ?? 0));
        column.shown = sum;
      }
      const stacked = columns.filter((column) => !column.line).reverse();
      return { kind, x, columns: [...stacked, ...columns.filter((column) => column.line)], shape: kind + heads.map((head) => head.textContent + head.dataset.tone).join("|") };
    }
    readSpans(table) {
      const ends = [], spans = [];
      for (const row of table.tBodies[0].rows) {
        const from = Number(row.dataset.from) / 1000, to = Number(row.dataset.to) / 1000;
        let lane = ends.findIndex((end) => end <= from);
        if (lane < 0) lane = ends.length;
        ends[lane] = to;
        const link = row.querySelector("a");
        spans.push({ from, to, lane, tone: row.dataset.tone, href: link.getAttribute("href"), name: link.textContent, word: row.cells[2].textContent });
      }
      // The axis is that of the other charts, where there are some.
      const steps = document.querySelector("table.data:not([data-kind=spans]) tbody")?.rows ?? [];
      const x = steps.length ? [steps[0], steps[steps.length - 1]].map((row) => Number(row.cells[0].dataset.at) / 1000) : [Number(table.dataset.since) / 1000, Number(table.dataset.until) / 1000];
      return { kind: "spans", x: x[0] < x[1] ? x : [x[0] - 1, x[1] + 1], columns: [{ name: "", tone: "idle", raw: [null, null], shown: [null, null], line: true }], spans, lanes: Math.max(1, ends.length), shape: "spans" };
    }

    draw() {
      const read = this.read();
      if (!read.x.length) { this.end(); return; }
      const data = [read.x, ...read.columns.map((column) => column.shown)];
      if (this.plot && this.read_.shape === read.shape) {
        const { min, max } = this.plot.scales.x, old = this.read_.x;
        const zoomed = min > old[0] || max < old[old.length - 1];
        this.read_ = read;
        this.plot.setData(data, !zoomed);
        if (zoomed) this.plot.redraw();
        return;
      }
      this.end();
      this.read_ = read;
      this.setAttribute("role", "img");
      this.setAttribute("aria-label", this.card.querySelector("h3").textContent + ": " + this.card.querySelector(".sum").textContent);
      this.plot = new uPlot(this.options(read), data, this);
      if (read.kind === "spans") this.lead();
    }
    options(read) {
      const unit = say[this.table.dataset.unit] ?? short, muted = this.colour("muted"), grid = { stroke: this.colour("line"), width: 1 };
      const isSpans = read.kind === "spans";
      const series = read.columns.map((column, n) => {
        const colour = this.colour(column.tone);
        const paths = read.kind === "bars" && !column.line ? uPlot.paths.bars({ size: [0.85, 60] }) : undefined;
        return {
          label: column.name, stroke: colour, width: column.line ? (column.before ? 1 : 1.5) : 1,
          fill: column.line ? undefined : colour + (read.kind === "bars" ? "d9" : "99"),
          dash: column.before ? [5, 4] : undefined, paths, points: { show: false, size: 5, fill: colour, filter: alone }, spanGaps: false, show: !isSpans,
          value: (_, __, ___, at) => { const value = at == null ? null : this.read_.columns[n].raw[at]; return value == null ? "–" : unit(value); },
        };
      });
      return {
        ...this.size(),
        cursor: { sync: { key: "runyard" }, drag: { x: true, y: false, dist: 6 }, points: { show: !isSpans } },
        legend: { show: !isSpans },
        scales: { x: { time: true }, y: { range: (_, __, max) => isSpans ? [this.read_.lanes, 0] : [0, max > 0 ? (this.table.dataset.unit === "ratio" ? Math.max(max, 1) : max * 1.08) : 1] } },
        axes: [
          { stroke: muted, grid, ticks: grid, values: axis, font: "11px system-ui", size: 28 },
          { stroke: muted, grid, ticks: grid, values: (_, splits) => splits.map((value) => isSpans ? "" : unit(value)), font: "11px system-ui", size: 64 },
        ],
        series: [{ label: "time", value: (_, at) => at == null ? "–" : clock(at, true) }, ...series],
        hooks: { draw: [(plot) => { if (isSpans) this.bars(plot); this.marks(plot); }] },
      };
    }
    // Releases as upright lines with their numbers.
    marks(plot) {
      const { ctx, bbox } = plot, ratio = devicePixelRatio;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = this.colour("outdated");
      ctx.lineWidth = ratio;
      ctx.font = 11 * ratio + "px system-ui";
      for (const mark of document.querySelectorAll("#marks [data-mark]")) {
        const x = Math.round(plot.valToPos(Number(mark.dataset.at) / 1000, "x", true));
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        ctx.fillText("#" + mark.dataset.mark, x + 3 * ratio, bbox.top + 11 * ratio);
      }
      ctx.restore();
    }
    // Jobs from start to end: colour and the shape at the end say how each went.
    bars(plot) {
      const { ctx, bbox } = plot, ratio = devicePixelRatio;
      const high = Math.min(14 * ratio, (bbox.height / this.read_.lanes) * 0.7);
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      for (const span of this.read_.spans) {
        const x = plot.valToPos(span.from, "x", true), end = Math.max(x + 2 * ratio, plot.valToPos(span.to, "x", true));
        const y = plot.valToPos(span.lane + 0.5, "y", true), r = Math.max(2 * ratio, high / 3);
        ctx.fillStyle = this.colour(span.tone);
        ctx.globalAlpha = 0.55;
        ctx.fillRect(x, y - high / 2, end - x, high);
        ctx.globalAlpha = 1;
        ctx.beginPath();
        if (span.tone === "bad") ctx.rect(end - r, y - r, 2 * r, 2 * r);
        else if (span.tone === "busy") { ctx.moveTo(end - r, y - r); ctx.lineTo(end + r, y); ctx.lineTo(end - r, y + r); }
        else ctx.arc(end, y, r, 0, 7);
        ctx.fill();
      }
      ctx.restore();
    }
    // A job is its page, where the pointer is over it.
    lead() {
      const under = (event) => {
        const box = this.plot.over.getBoundingClientRect();
        const at = this.plot.posToVal(event.clientX - box.left, "x"), lane = Math.floor(this.plot.posToVal(event.clientY - box.top, "y"));
        const near = this.plot.posToVal(event.clientX - box.left + 4, "x") - at;
        return this.read_.spans.find((span) => span.lane === lane && at >= span.from - near && at <= span.to + near);
      };
      let down = 0;
      this.plot.over.addEventListener("mousedown", (event) => { down = event.clientX; });
      this.plot.over.addEventListener("click", (event) => {
        const span = under(event);
        if (span && Math.abs(event.clientX - down) < 4) location.assign(span.href);
      });
      this.plot.over.addEventListener("mousemove", (event) => {
        const span = under(event);
        this.plot.over.title = span ? span.name + ": " + span.word : "";
        this.plot.over.classList.toggle("link", !!span);
      });
    }
  }

  // The page again: its numbers and its sentences, without the rest.
  const refresh = async () => {
    const list = document.getElementById("charts");
    if (!list || !("live" in list.dataset) || document.hidden) return;
    let text;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      text = await answer.text();
    } catch { return; }
    const fresh = new DOMParser().parseFromString(text, "text/html");
    document.getElementById("marks").innerHTML = fresh.getElementById("marks").innerHTML;
    // Cards come and go with what there is to show; those that stay are fed.
    const others = [...fresh.querySelectorAll(".chart")], ids = new Set(others.map((card) => card.id));
    document.querySelectorAll(".chart").forEach((card) => { if (!ids.has(card.id)) card.remove(); });
    let last = null;
    for (const other of others) {
      let card = document.getElementById(other.id);
      if (card) {
        const sum = other.querySelector(".sum").innerHTML, said = card.querySelector(".sum");
        if (said.innerHTML !== sum) said.innerHTML = sum;
        card.querySelector("table.data").replaceWith(document.adoptNode(other.querySelector("table.data")));
      } else {
        card = document.adoptNode(other);
        if (last) last.after(card); else list.prepend(card);
      }
      last = card;
    }
    show();
    charts.forEach((chart) => chart.draw());
  };

  const show = () => document.querySelectorAll("[data-expand]").forEach((button) => { button.hidden = false; });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-expand]");
    if (!button) return;
    const wide = button.closest(".chart").classList.toggle("wide");
    button.setAttribute("aria-expanded", wide);
    button.textContent = wide ? "Shrink" : "Expand";
  });
  // Another theme has other colours.
  matchMedia("(prefers-color-scheme:dark)").addEventListener("change", () => charts.forEach((chart) => { chart.end(); chart.draw(); }));
  customElements.define("ry-chart", Chart);
  show();
  setInterval(refresh, EVERY);
})();
