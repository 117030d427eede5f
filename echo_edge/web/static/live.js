// Keeps the live parts of a page true: the server sends each part's HTML whenever it changed, and it is put in place.
// Without this script every page can be read, and every form works; it is as true as it was when it was loaded.
"use strict";

const parts = [...document.querySelectorAll("[data-live]")];
const notice = document.getElementById("connection");
const restarted = document.getElementById("restarted");
// The one place where text becomes HTML: what the server rendered and escaped.
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("echo-edge", { createHTML: (html) => html })
  : { createHTML: (html) => html };

let running = document.body.dataset.running === "yes";
let lastHeard = Date.now();
const SILENT_MS = 40000; // the server says something every 15 s

function say(kind) {
  if (notice) notice.hidden = kind !== "lost";
}

function place(part) {
  for (const element of parts) {
    if (element.dataset.live !== part.name || (element.dataset.args || "") !== part.args) continue;
    const next = document.createElement("template");
    next.innerHTML = policy.createHTML(part.html);
    become(element, next.content);
  }
}

// Changes only what differs: a link under a finger, the focus, what was opened or scrolled stay as they are.
function become(now, next) {
  const old = [...now.childNodes], fresh = [...next.childNodes];
  fresh.forEach((node, i) => {
    const was = old[i];
    if (!was) now.append(node);
    else if (was.nodeName !== node.nodeName || was.id !== node.id) was.replaceWith(node);
    else if (node.nodeType === Node.ELEMENT_NODE) { dress(was, node); become(was, node); }
    else if (was.nodeValue !== node.nodeValue) was.nodeValue = node.nodeValue;
  });
  old.slice(fresh.length).forEach((node) => node.remove());
}

function dress(was, node) {
  const kept = (name) => name === "open" && was.nodeName === "DETAILS"; // a person opened it
  for (const { name } of [...was.attributes]) if (!node.hasAttribute(name) && !kept(name)) was.removeAttribute(name);
  for (const { name, value } of node.attributes) if (was.getAttribute(name) !== value) was.setAttribute(name, value);
}

// Other buttons are right than when the page was loaded: load it anew, but not under somebody's fingers.
const phaseOf = (element) => (element.querySelector("[data-reload-when]") || { dataset: {} }).dataset.reloadWhen;
const phases = new Map(parts.map((element) => [element, phaseOf(element)]));

function typing() {
  const fields = [...document.querySelectorAll("main input:not([type=hidden]), main textarea, main select")];
  return fields.some((field) => field === document.activeElement || touched.has(field));
}

const touched = new Set();
document.addEventListener("input", (event) => touched.add(event.target));

function follow() {
  if (parts.every((element) => phaseOf(element) === phases.get(element))) return;
  if (!typing()) again();
  for (const hint of document.querySelectorAll("[data-changed]")) hint.hidden = false;
}

// By GET, also where the page is the answer to a form: that must not be sent twice.
function again() { location.replace(location.href.split("#")[0]); }

function listen() {
  const query = parts.map((e) => "part=" + encodeURIComponent(e.dataset.live + ":" + (e.dataset.args || ""))).join("&");
  const source = new EventSource("/live?" + query);
  const heard = () => { lastHeard = Date.now(); say("ok"); };
  source.addEventListener("open", heard);
  source.addEventListener("still", heard);
  source.addEventListener("part", (event) => { heard(); place(JSON.parse(event.data)); follow(); });
  source.addEventListener("daemon", (event) => {
    heard();
    if (JSON.parse(event.data).running === running) return;
    if (!typing()) again();
    else if (restarted) restarted.hidden = false;
  });
  source.addEventListener("login", () => again());
  source.addEventListener("error", () => {
    say("lost");
    if (source.readyState !== EventSource.CLOSED) return;
    // Refused: where it is for want of a session, the page leads to the login.
    fetch("/live").then((answer) => (answer.status === 401 ? location.reload() : setTimeout(listen, 5000)), () => setTimeout(listen, 5000));
  });
}

// A form that somebody is filling in must not lose it to a second click.
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) setTimeout(() => { button.disabled = true; }, 0);
  });
}

if (parts.length) {
  listen();
  // A network that drops everything tells nobody: what is not heard any more is old.
  setInterval(() => { if (Date.now() - lastHeard > SILENT_MS) say("lost"); }, 5000);
}
