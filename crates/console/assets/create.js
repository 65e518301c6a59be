// What the forms that make endpoints do while they are filled in: more rows of variables, and what it will be. Both are
// there without this, too, by a button.
"use strict";
(() => {
  const form = document.querySelector("form.make");
  const row = (button) => {
    const body = button.closest("section").querySelector(".vars tbody");
    const last = body.rows[body.rows.length - 1];
    for (let n = 0; n < 3; n++) {
      const copy = last.cloneNode(true), at = body.rows.length + 1;
      for (const field of copy.querySelectorAll("input,select")) {
        field.value = field.matches("select") ? "plain" : "";
        field.setAttribute("aria-label", field.getAttribute("aria-label").replace(/\d+$/, at));
      }
      body.append(copy);
    }
  };
  document.addEventListener("click", (event) => {
    const more = event.target.closest("[data-rows]");
    if (more) { event.preventDefault(); row(more); return; }
    if (event.target.closest("[data-preview]")) { event.preventDefault(); look(); }
  });
  if (!form) return;

  // Values of secure variables stay here: only their names are sent to be looked at.
  const fields = () => {
    const out = new URLSearchParams();
    const kinds = [...form.querySelectorAll("[name=env_kind]")].map((select) => select.value);
    let at = 0;
    for (const [name, value] of new FormData(form)) {
      if (typeof value !== "string" || name === "token" || name === "do") continue;
      out.append(name, name === "env_value" && kinds[at++] === "secure" ? "sealed" : value);
    }
    return out;
  };
  let asked = 0;
  const look = async () => {
    const mine = ++asked;
    try {
      const answer = await fetch("/ui/preview", { method: "POST", body: fields() });
      if (!answer.ok || mine !== asked) return;
      const parsed = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#preview");
      if (parsed) document.getElementById("preview").replaceWith(parsed);
      for (const copy of document.querySelectorAll("#preview [data-copy][hidden]")) copy.hidden = false;
    } catch { /* the next change asks again */ }
  };
  let timer = 0;
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 300); });
  form.addEventListener("change", (event) => {
    const files = event.target.files;
    const name = form.querySelector("[name=name]");
    if (!files || !files.length || name.value) return;
    const path = files[0].webkitRelativePath || files[0].name.replace(/\.(zip|tgz|tar\.gz|py)$/i, "");
    name.placeholder = path.split("/")[0].toLowerCase();
  });
})();
