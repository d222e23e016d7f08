// Progressive: every page reads well without this file.
"use strict";

const page = document.body.dataset.page;

// Parts of a page that are marked with data-renew renew themselves: the same page is fetched
// again, and what has changed takes the place of the old. What has not changed is left alone,
// so focus, selection and a screen reader's place stay.
function renew(every) {
  const lost = document.getElementById("connection");
  let busy = false, since = null;
  setInterval(async () => {
    if (busy || document.hidden || document.getSelection().toString() !== "") return;
    busy = true;
    try {
      const answer = await fetch(location.href, { redirect: "error", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error("the node answers " + answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-renew]")) {
        const now = fresh.getElementById(old.id);
        if (now) replace(old, now);
      }
      if (since) { since = null; lost.hidden = true; }
    } catch (why) {
      // Said once, when it begins: a text that changed with each try would be read out anew.
      if (!since) {
        since = new Date().toISOString().slice(11, 19);
        lost.textContent = "Connection lost at " + since + " UTC: what you see is from before. " + reason(why) + " It is tried again every " + every + " s.";
        lost.hidden = false;
      }
    } finally {
      busy = false;
    }
  }, every * 1000);
}

function reason(why) {
  if (why.name === "TimeoutError") return "The node did not answer within five seconds.";
  if (why.message.startsWith("the node answers")) return "The node answers " + why.message.slice(17) + ".";
  return "The node cannot be reached, or you are no longer logged in.";
}

function replace(old, now) {
  for (const box of old.querySelectorAll("details[id]")) {
    const same = now.querySelector("#" + CSS.escape(box.id));
    if (same) same.open = box.open;
  }
  if (old.isEqualNode(now)) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  old.className = now.className;
  old.replaceChildren(...document.adoptNode(now).childNodes);
  if (!focused) return;
  const again = [...old.querySelectorAll(focused.tagName)].find((e) => (focused.id ? e.id === focused.id : e.getAttribute("href") === focused.getAttribute("href")));
  if (again) again.focus({ preventScroll: true });
}

// Warnings that somebody has folded away stay so, on all pages, until one is new.
function notes() {
  const box = document.getElementById("notes");
  if (!box) return;
  const texts = [...box.querySelectorAll("li")].map((li) => li.textContent);
  const seen = new Set(JSON.parse(localStorage.getItem("tandem-notes") || "[]"));
  box.open = texts.some((text) => !seen.has(text));
  box.addEventListener("toggle", () => {
    if (!box.open) localStorage.setItem("tandem-notes", JSON.stringify(texts));
  });
}

const kept = 300; // rows of the event table

function cell(row, content, kind) {
  const td = row.insertCell();
  if (kind) td.className = kind;
  if (content instanceof Node) td.append(content); else td.textContent = content;
  return td;
}

function element(name, kind, text) {
  const e = document.createElement(name);
  e.className = kind;
  e.textContent = text;
  return e;
}

const short = (id) => (id.length <= 16 ? id : id.slice(0, 8) + "…" + id.slice(-4));

function rowOf(event) {
  const row = document.createElement("tr");
  const time = element("time", "", new Date(event.at).toISOString().slice(11, 23));
  time.dateTime = event.at;
  cell(row, time, "number");
  cell(row, element("span", "pill kind " + event.kind, event.kind));
  const call = cell(row, "");
  if (event.call) {
    const link = element("a", "mono", short(event.call));
    link.href = "/console/calls/" + encodeURIComponent(event.call);
    link.title = event.call;
    call.append(link);
  }
  const partition = cell(row, event.partition ? String(event.partition) : "", "number");
  if (event.epoch > 1) partition.append(" ", element("i", "epoch", "e" + event.epoch));
  cell(row, event.node || "");
  cell(row, event.text || (event.from ? "from " + event.from : ""));
  row.className = "new";
  return row;
}

// Events are collected and drawn once a frame: a busy region sends thousands.
function follow() {
  const table = document.getElementById("events");
  const status = document.getElementById("live");
  const pause = document.getElementById("pause");
  let waiting = [], paused = false, drawing = false;
  const draw = () => {
    drawing = false;
    if (paused) return;
    for (const event of waiting.splice(0).slice(-kept)) table.prepend(rowOf(event));
    while (table.rows.length > kept) table.deleteRow(-1);
    document.getElementById("none")?.remove();
  };
  const source = new EventSource("/console/stream?after=" + (table.dataset.after || "0"));
  const wanted = (event) => (!table.dataset.kind || event.kind === table.dataset.kind) && (!table.dataset.call || event.call === table.dataset.call) &&
    (!table.dataset.node || event.node === table.dataset.node || event.from === table.dataset.node);
  const take = (message) => {
    const event = JSON.parse(message.data);
    if (!wanted(event)) return;
    waiting.push(event);
    if (waiting.length > 2 * kept) waiting = waiting.slice(-kept);
    if (paused) status.textContent = "Paused, " + waiting.length + " waiting";
    if (!drawing && !paused) { drawing = true; requestAnimationFrame(draw); }
  };
  source.onmessage = take;
  source.onopen = () => { status.textContent = paused ? "Paused" : "Following"; };
  source.onerror = () => { status.textContent = "Not connected, trying again"; };
  pause.hidden = false;
  pause.onclick = () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    status.textContent = paused ? "Paused" : "Following";
    if (!paused) draw();
  };
}

// Of a menu that is wider than the window, the reader sees the entry of this page.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
notes();
if (document.body.dataset.every) renew(Number(document.body.dataset.every));
if (page === "events") follow();
