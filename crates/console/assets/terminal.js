// A terminal beside a worker. What the command prints comes as the answer of the request that opened it, in frames (a
// byte for the kind, four for the length); what is typed goes in requests of its own, one after the other.
const place = document.getElementById("terminal");
const form = document.getElementById("terminal-open");
const says = document.getElementById("terminal-says");
const full = document.getElementById("terminal-full");
const { xterm, fit, worker } = place.dataset;

// The policy of pages forbids styles that are not files. What xterm.js writes into elements <style> becomes sheets
// that are made by scripts, and what it sets as attributes `style` properties, which the policy allows.
const allowStyles = () => {
  const make = document.createElement.bind(document);
  document.createElement = (name, options) => {
    if (String(name).toLowerCase() !== "style") return make(name, options);
    // Even an empty one is refused: another element stands in its place.
    const element = make("template");
    const sheet = new CSSStyleSheet();
    document.adoptedStyleSheets.push(sheet);
    const text = { get: () => "", set: (value) => sheet.replaceSync(value) };
    Object.defineProperties(element, { textContent: text, innerText: text });
    element.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
      Element.prototype.remove.call(element);
    };
    return element;
  };
  const set = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function setAttribute(name, value) {
    if (name === "style" && this.style) this.style.cssText = value;
    else set.call(this, name, value);
  };
};
allowStyles();

const KINDS = { typed: 1, size: 3 };
const frame = (kind, bytes) => {
  const whole = new Uint8Array(5 + bytes.length);
  new DataView(whole.buffer).setUint8(0, kind);
  new DataView(whole.buffer).setUint32(1, bytes.length);
  whole.set(bytes, 5);
  return whole;
};
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const bytesOf = (text) => new TextEncoder().encode(text);

let terminal, fitter, address = "", waiting = [], sending = false;

const tell = (text, state) => {
  says.textContent = text;
  says.dataset.state = state || "";
};

// One request at a time: what comes meanwhile goes with the next one.
const send = async () => {
  if (sending || !address) return;
  sending = true;
  while (waiting.length && address) {
    const body = new Blob(waiting.splice(0, 512));
    const answer = await fetch(address, {
      method: "POST", body, headers: { "content-type": "application/octet-stream", "x-csrf-token": form.elements.csrf.value },
    }).catch(() => null);
    if (!answer) tell("The server does not answer: what was typed last is lost.", "bad");
  }
  sending = false;
};
const type = (bytes) => {
  // No frame may be larger than 64 KiB.
  for (let from = 0; from < bytes.length; from += 32768) waiting.push(frame(KINDS.typed, bytes.subarray(from, from + 32768)));
  send();
};

const show = async (body) => {
  const reader = body.getReader();
  let rest = new Uint8Array(0);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return null;
    const bytes = new Uint8Array(rest.length + value.length);
    bytes.set(rest);
    bytes.set(value, rest.length);
    let at = 0;
    while (bytes.length - at >= 5) {
      const head = new DataView(bytes.buffer, at, 5), length = head.getUint32(1);
      if (bytes.length - at - 5 < length) break;
      const text = bytes.subarray(at + 5, at + 5 + length);
      if (head.getUint8(0) === 3) return JSON.parse(new TextDecoder().decode(text));
      if (length) terminal.write(text.slice());
      at += 5 + length;
    }
    rest = bytes.slice(at);
  }
};

const prepare = async () => {
  if (terminal) return;
  const [{ Terminal }, { FitAddon }] = await Promise.all([import(xterm), import(fit)]);
  terminal = new Terminal({
    fontFamily: color("--mono"), fontSize: 13, scrollback: 5000,
    theme: { background: color("--bg2"), foreground: color("--text"), cursor: color("--accent"), selectionBackground: "#4b44c966" },
  });
  fitter = new FitAddon();
  terminal.loadAddon(fitter);
  terminal.open(place);
  terminal.onData((text) => type(bytesOf(text)));
  terminal.onBinary((text) => type(Uint8Array.from(text, (one) => one.charCodeAt(0))));
  terminal.onResize(({ rows, cols }) => { waiting.push(frame(KINDS.size, bytesOf(JSON.stringify({ rows, columns: cols })))); send(); });
  new ResizeObserver(() => fitter.fit()).observe(place);
};

const run = async () => {
  place.hidden = false;
  await prepare();
  terminal.options.screenReaderMode = form.elements.reader.checked;
  terminal.reset();
  fitter.fit();
  terminal.focus();
  waiting = [];
  const shell = form.elements.shell.value;
  const fields = new URLSearchParams({ csrf: form.elements.csrf.value, shell, rows: terminal.rows, columns: terminal.cols });
  tell("Starting " + shell + " …");
  const answer = await fetch("/ui/terminal/" + worker, { method: "POST", body: fields }).catch(() => null);
  if (!answer || !answer.ok) {
    tell("It could not be opened: " + (answer ? await answer.text() : "the server does not answer") + ".", "bad");
    return;
  }
  address = "/ui/terminal/" + worker + "/" + answer.headers.get("x-terminal");
  tell(shell + " runs.", "ok");
  const ended = await show(answer.body).catch(() => null);
  address = "";
  if (!ended) tell("The connection broke off: the worker or the server has gone.", "bad");
  else if (ended.code === null || ended.code === undefined) tell("It ended: " + ended.why + ".", "bad");
  else tell(shell + " ended with code " + ended.code + ".", ended.code ? "bad" : "");
};

let running = false;
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  event.stopPropagation();
  if (running) return;
  running = true;
  form.querySelector("button").disabled = true;
  await run().catch((error) => tell("It broke: " + error.message, "bad"));
  form.querySelector("button").disabled = false;
  running = false;
});
full.hidden = false;
full.addEventListener("click", () => { place.requestFullscreen?.(); terminal?.focus(); });
