// <ry-json>: a text area for JSON that says where a mistake is, indents, closes brackets, and puts in order. And the times
// of a stream's parts, as they come to this page.
"use strict";
(() => {
  // Where the text stops being JSON: { line, column, what }, or null. Messages of browsers differ, this one does not.
  const mistake = (text) => {
    let at = 0;
    const fail = (what, where = at) => { throw { where, what }; };
    const space = () => { while (at < text.length && " \t\n\r".includes(text[at])) at++; };
    const string = () => {
      const from = at++;
      for (;;) {
        if (at >= text.length || text[at] === "\n") fail("this text has no end: a \" is missing", from);
        if (text[at] === "\\") {
          const escape = /^\\(["\\/bfnrt]|u[0-9a-fA-F]{4})/.exec(text.slice(at, at + 6));
          if (!escape) fail("a \\ that stands for nothing");
          at += escape[0].length;
        } else if (text[at++] === "\"") return;
      }
    };
    const value = (depth) => {
      space();
      if (depth > 500) fail("too deep");
      const c = text[at];
      if (c === undefined) fail("a value is missing");
      if (c === "\"") return string();
      if (c === "{" || c === "[") {
        const from = at++, close = c === "{" ? "}" : "]";
        space();
        if (text[at] === close) { at++; return; }
        for (;;) {
          if (c === "{") {
            space();
            if (text[at] === "'") fail("names stand in \"double quotes\"");
            if (text[at] !== "\"") fail(text[at] === "}" ? "a comma too many" : "a name in \"quotes\" is missing");
            string();
            space();
            if (text[at] !== ":") fail("a : is missing");
            at++;
          }
          space();
          if (c === "[" && text[at] === "]") fail("a comma too many");
          value(depth + 1);
          space();
          if (text[at] === ",") { at++; continue; }
          if (text[at] === close) { at++; return; }
          if (text[at] === undefined) fail("this " + c + " has no " + close, from);
          fail("a , or " + close + " is missing");
        }
      }
      const word = /^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)(?![\w.])/.exec(text.slice(at, at + 400));
      if (word) { at += word[0].length; return; }
      const odd = /^[^\s,:[\]{}]{1,20}/.exec(text.slice(at));
      fail(odd ? "'" + odd[0] + "' is no value: texts stand in \"quotes\"" : "a value is missing");
    };
    try {
      if (!text.trim()) return null;
      value(0);
      space();
      if (at < text.length) fail("there is more after the end");
      return null;
    } catch (error) {
      if (error.what === undefined) throw error;
      const before = text.slice(0, error.where).split("\n");
      return { line: before.length, column: before[before.length - 1].length + 1, what: error.what, at: error.where };
    }
  };

  // Indented anew, every letter of its values as it is: numbers keep their digits.
  const ordered = (text) => {
    let out = "", depth = 0, at = 0;
    const line = () => "\n" + "  ".repeat(depth);
    while (at < text.length) {
      const c = text[at];
      if (c === "\"") {
        const end = /^"(\\.|[^"\\])*"/s.exec(text.slice(at));
        out += end[0];
        at += end[0].length;
        continue;
      }
      if (c === "{" || c === "[") {
        const empty = /^[{[]\s*[}\]]/.exec(text.slice(at));
        if (empty) { out += c + (c === "{" ? "}" : "]"); at += empty[0].length; continue; }
        depth++;
        out += c + line();
      } else if (c === "}" || c === "]") {
        depth--;
        out += line() + c;
      } else if (c === ",") out += c + line();
      else if (c === ":") out += ": ";
      else if (!" \t\n\r".includes(c)) out += c;
      at++;
    }
    return out;
  };

  const PAIRS = { "{": "}", "[": "]", "\"": "\"" };
  customElements.define("ry-json", class extends HTMLElement {
    connectedCallback() {
      this.area = this.querySelector("textarea");
      this.says = this.querySelector(".says");
      const bar = document.createElement("div");
      bar.className = "bar";
      const order = document.createElement("button");
      order.type = "button";
      order.className = "small";
      order.textContent = "Put in order";
      order.addEventListener("click", () => this.order());
      bar.append(order);
      this.says.after(bar);
      this.area.addEventListener("input", () => this.check());
      this.area.addEventListener("keydown", (event) => this.key(event));
      this.check();
    }
    check() {
      const found = mistake(this.area.value);
      this.says.textContent = found ? "Line " + found.line + ", column " + found.column + ": " + found.what : "";
      this.says.className = found ? "says bad" : "says";
      if (found) this.area.setAttribute("aria-invalid", "true"); else this.area.removeAttribute("aria-invalid");
      return found;
    }
    order() {
      const found = this.check();
      if (found) { this.area.focus(); this.area.setSelectionRange(found.at, found.at + 1); return; }
      this.area.value = ordered(this.area.value);
    }
    // As if it had been typed, so that undo takes it back.
    put(text, back = 0) {
      if (!document.execCommand("insertText", false, text)) {
        this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
        this.check();
      }
      if (back) this.area.setSelectionRange(this.area.selectionStart - back, this.area.selectionStart - back);
    }
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      const { value, selectionStart: from, selectionEnd: to } = this.area;
      const next = value[to] || "";
      if (event.key === "Enter") {
        event.preventDefault();
        const line = value.slice(value.lastIndexOf("\n", from - 1) + 1, from);
        const indent = /^\s*/.exec(line)[0], open = /[{[]\s*$/.test(line);
        const closes = open && (next === "}" || next === "]");
        this.put("\n" + indent + (open ? "  " : "") + (closes ? "\n" + indent : ""), closes ? indent.length + 1 : 0);
      } else if ("}]\"".includes(event.key) && event.key.length === 1 && from === to && next === event.key) {
        // What is there already is stepped over.
        event.preventDefault();
        this.area.setSelectionRange(to + 1, to + 1);
      } else if (PAIRS[event.key] && from === to && (!next || /[\s,}\]]/.test(next)) && value[from - 1] !== "\\") {
        if (event.key === "\"" && /[\w"]/.test(value[from - 1] || "")) return;
        event.preventDefault();
        this.put(event.key + PAIRS[event.key], 1);
      }
    }
  });

  // A part's time is when it came here; parts that were there already when the page was opened have none.
  const seen = new Map();
  let first = true;
  const chunks = () => {
    const list = document.querySelector("[data-chunks]");
    if (list) {
      for (const item of list.querySelectorAll("[data-chunk]")) {
        const key = list.dataset.chunks + " " + item.dataset.chunk;
        if (!seen.has(key)) seen.set(key, first ? null : Date.now() - Number(list.dataset.from));
        const at = seen.get(key), text = at === null ? "" : "+" + (at / 1000).toFixed(2) + " s";
        const shown = item.querySelector(".at");
        if (shown.textContent !== text) shown.textContent = text;
      }
    }
    first = false;
  };
  document.addEventListener("htmx:after:swap", chunks);
  chunks();
})();
