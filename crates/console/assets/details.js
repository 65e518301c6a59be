// What a reader has opened stays open while the page around it changes, and what was closed stays closed: the server does
// not know of either.
"use strict";
(() => {
  const closed = new WeakSet();
  document.addEventListener("toggle", (event) => {
    if (event.target.open) closed.delete(event.target); else closed.add(event.target);
  }, true);
  htmx.registerExtension("details", {
    htmx_before_morph_attr: (element, change) =>
      element.localName !== "details" || change.attrName !== "open" || (change.newValue !== null && !closed.has(element)),
  });
})();
