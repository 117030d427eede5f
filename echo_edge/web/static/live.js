// Keeps the live parts of a page true: the server sends each part's HTML whenever it changed, and it is put in place.
// Without this script every page can be read, and every form works; it is as true as it was when it was loaded.
"use strict";

const parts = [...document.querySelectorAll("[data-live]")];
const notice = document.getElementById("connection");
// The one place where text becomes HTML: what the server rendered and escaped.
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("echo-edge", { createHTML: (html) => html })
  : { createHTML: (html) => html };

let running = document.body.dataset.running === "yes";
let lastHeard = Date.now();

function say(kind) {
  if (notice) notice.hidden = kind !== "lost";
}

function place(part) {
  for (const element of parts) {
    if (element.dataset.live !== part.name || (element.dataset.args || "") !== part.args) continue;
    const open = [...element.querySelectorAll("details[open][id]")].map((details) => details.id);
    element.innerHTML = policy.createHTML(part.html);
    for (const id of open) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
  }
}

function listen() {
  const query = parts.map((e) => "part=" + encodeURIComponent(e.dataset.live + ":" + (e.dataset.args || ""))).join("&");
  const source = new EventSource("/live?" + query);
  const heard = () => { lastHeard = Date.now(); say("ok"); };
  source.addEventListener("open", heard);
  source.addEventListener("part", (event) => { heard(); place(JSON.parse(event.data)); });
  source.addEventListener("daemon", (event) => {
    heard();
    if (JSON.parse(event.data).running !== running) location.reload();
  });
  source.addEventListener("login", () => location.reload());
  source.addEventListener("error", () => {
    say("lost");
    if (source.readyState === EventSource.CLOSED) { source.close(); setTimeout(listen, 5000); }
  });
}

// A form that somebody is filling in must not lose it to a second click.
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) setTimeout(() => { button.disabled = true; }, 0);
  });
}

if (parts.length) listen();
