// Progressive: every page reads well without this file.
"use strict";

const page = document.body.dataset.page;

// The overview renews itself: the same page is fetched again and its content
// takes the place of the old one.
function renew() {
  let busy = false;
  setInterval(async () => {
    if (busy || document.hidden || document.getSelection().toString() !== "") return;
    busy = true;
    try {
      const answer = await fetch(location.href, { redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focus = document.activeElement && document.activeElement.getAttribute("href");
      for (const part of ["main", "footer"]) {
        const old = document.querySelector(part), now = fresh.querySelector(part);
        if (old && now) old.replaceWith(document.adoptNode(now));
      }
      if (focus) {
        for (const link of document.links) if (link.getAttribute("href") === focus) { link.focus(); break; }
      }
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale"); // what is shown is old: the style says so
    } finally {
      busy = false;
    }
  }, 2000);
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
  cell(row, event.text || "");
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
  const take = (message) => {
    waiting.push(JSON.parse(message.data));
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

if (page === "overview") renew();
if (page === "events") follow();
