// Keys of the review room. Every action is a button, link or field with data-key: its key presses or focuses it,
// unless somebody is typing. Rows of choices (data-row) take a key for the marked row and move on to the next.
"use strict";
(() => {
  const FIELDS = "textarea, select, [contenteditable], input:not([type=radio], [type=checkbox])";
  const PRESSED_BY_ENTER = "button, a, summary";
  const PAUSE = 600; // ms without a key that end a burst of typing
  let busy = false; // a decision is on its way: a second key would decide on an item nobody has seen
  let ignored = -PAUSE; // when a key was last ignored for that: what follows at once is typing, not commands
  let leaving = false;
  let unsaved = false;
  let offline = false;

  const shown = (element) => element.getClientRects().length > 0 && !element.disabled;
  const keysAreOn = () => localStorage.getItem("keys") !== "off";
  const find = (attribute, key, within = document) =>
    [...within.querySelectorAll(`[${attribute}]`)].find((e) => e.getAttribute(attribute) === key && shown(e));

  // Rows of choices.
  const rows = () => [...document.querySelectorAll("[data-row]")];
  const answered = (row) => row.querySelector("input:checked") !== null;
  function mark(row) {
    rows().forEach((each) => each.toggleAttribute("data-current", each === row));
    if (row) row.scrollIntoView({ block: "nearest" });
  }
  function current() {
    return rows().find((row) => row.hasAttribute("data-current"));
  }
  function next(row, step = 1) {
    const all = rows();
    return all[Math.min(all.length - 1, Math.max(0, all.indexOf(row) + step))];
  }
  function choose(row, input) {
    input.click();
    const after = rows().slice(rows().indexOf(row));
    mark(after.find((each) => !answered(each)) || rows().find((each) => !answered(each)) || row);
  }

  function press(element) {
    if (element.matches("textarea, input:not([type=radio], [type=checkbox])")) {
      element.focus();
      if (element.value) element.setSelectionRange(element.value.length, element.value.length);
      return;
    }
    element.click();
    if (element.dataset.then) document.getElementById(element.dataset.then).focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest(FIELDS)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.repeat || !keysAreOn()) return;
    if (busy || performance.now() - ignored < PAUSE) {
      ignored = performance.now();
      return;
    }
    if ((event.key === "Enter" || event.key === " ") && event.target.closest(PRESSED_BY_ENTER)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const row = current();
    const input = row && find("data-choose", key, row);
    if (input) {
      choose(row, input);
    } else if (row && (key === "j" || key === "k")) {
      mark(next(row, key === "j" ? 1 : -1));
    } else {
      const element = find("data-key", key);
      if (!element) return;
      press(element);
    }
    event.preventDefault();
  });

  // A row that the mouse or Tab enters is the marked one.
  document.addEventListener("focusin", (event) => {
    const row = event.target.closest("[data-row]");
    if (row && !busy) mark(row);
  });

  function arrive() {
    const all = rows();
    if (all.length) mark(all.find((row) => !answered(row)) || all[all.length - 1]);
    const box = document.querySelector("[data-keys-on]");
    if (box) box.checked = keysAreOn();
  }

  // What was typed: the marks below it are of an older text until the server has read the new one.
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-keys-on]")) {
      localStorage.setItem("keys", event.target.checked ? "on" : "off");
      return;
    }
    if (!event.target.form || event.target.form.id !== "work") return;
    unsaved = true;
    const marks = document.getElementById("marks");
    if (marks && event.target.matches(".editor textarea")) marks.classList.add("old");
    const saved = document.querySelector("[data-saved]");
    if (saved) saved.textContent = "Not saved yet…";
  });

  function tell(sentence) {
    const notice = document.createElement("div");
    notice.className = "notice";
    const paragraph = document.createElement("p");
    paragraph.textContent = sentence;
    notice.append(paragraph);
    document.getElementById("notice").replaceChildren(notice);
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-close]")) document.getElementById("notice").replaceChildren();
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.id === "findings") return;
    if (event.detail.elt.matches("[data-autosave]")) {
      if (busy && !leaving) event.preventDefault(); // decided: there is no draft any more
      return;
    }
    busy = true;
    const element = document.querySelector("[data-autosave]");
    if (event.detail.elt.id === "work") {
      htmx.trigger("#findings", "htmx:abort");
    } else if (unsaved && element) {
      leaving = true; // by undo or skip: what was typed in the last half second is saved too
      htmx.trigger(element, "retry");
      leaving = false;
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    busy = false;
    if (!event.detail.successful) return; // a notice says why
    if (event.detail.elt.matches("[data-autosave]")) unsaved = false;
    if (offline || event.detail.elt.matches("[data-autosave]")) document.getElementById("notice").replaceChildren();
    offline = false;
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, () => {
      offline = true;
      tell("The server does not answer. What you typed stays here and is saved as soon as it does.");
    });
  }
  // Also what was typed in the moment in which a page took the place of another and nobody listened yet.
  setInterval(() => {
    const element = document.querySelector("[data-autosave]");
    if ((offline || unsaved) && element && !busy) htmx.trigger(element, "retry");
  }, 3000);

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "notice") return;
    if (event.detail.target.tagName !== "MAIN") return;
    unsaved = false;
    document.getElementById("notice").replaceChildren();
    arrive();
    const heading = document.querySelector("main h1");
    if (heading) heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  });
  window.addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
  document.addEventListener("submit", () => { unsaved = false; });
  arrive();
})();
