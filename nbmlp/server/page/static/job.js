// The page of one job: its curve grows with the events that the server sends.
/* global htmx */
import { Chart, connect, own } from "./chart.js";
import { courses, leaderOf, many } from "./nets.js";
import { announce, ask, complain } from "./page.js";

const { job } = document.getElementById("job").dataset;
const status = document.getElementById("status");
const rows = [];
/** Epochs that a picture holds at most; of more every second one is kept. */
const POINTS = 2000;
const known = new Map();
let step = 1;
const curve = (label, key, colour, dash) => ({ label, key, colour, dash, rows });
const host = document.getElementById("loss");
const loss = new Chart(host, [
  curve("Training loss", "train_loss", "--train"),
  curve("Validation loss", "val_loss", "--validation", [8, 4]),
], { sync: "job" });
const scores = new Chart(document.getElementById("score"), [
  curve("Validation score", "val_score", "--score"),
], { sync: "job", height: 170, named: false });

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (many(rows)) {
      drawNets();
      return;
    }
    loss.best = scores.best = Number(panel().dataset.best) || null;
    loss.draw();
    if (rows.some((row) => row.val_score != null)) {
      const { score } = panel().dataset;
      if (score) scores.rename(0, `Validation ${score}`, score === "accuracy");
      scores.show(true);
      scores.draw();
    }
  });
}

/** The scores of all nets in one picture. */
function drawNets() {
  const { lagged, netEpoch, score, state } = panel().dataset;
  const leader = leaderOf(panel().dataset);
  loss.best = leader == null ? null : Number(netEpoch);
  loss.place = leader == null ? null : `net ${leader}, epoch ${netEpoch}`;
  loss.percent = score === "accuracy";
  const found = chosen();
  const behind = numbers(lagged);
  const whose = `net ${leader}, the best${over(state) ? "" : " so far"}`;
  loss.take(courses(rows, "val_score", {
    leader,
    counts: found ? (net) => found.has(net) : (net) => !behind.has(net),
    labels: [
      found ? "not in the ensemble" : "lagged behind",
      found ? "in the ensemble" : "other nets",
      `Validation ${(score || "score").replaceAll("_", " ")} of ${whose}`,
    ],
  }));
  loss.draw();
}

const numbers = (text) => new Set(text ? text.split(" ").map(Number) : []);
/** Nets that count in the model; null as long as there is none. */
function chosen() {
  const members = document.querySelector("[data-chosen]");
  return members && numbers(members.dataset.chosen);
}

/** Take rows over; a resumed job tells some epochs again, and what came later is undone. */
function take(more) {
  if (!more.length) return;
  for (const epoch of known.keys()) if (epoch >= more[0].epoch) known.delete(epoch);
  for (const row of more) if (own(row) % step === 0 || row === more.at(-1)) known.set(row.epoch, row);
  while (known.size > POINTS) thin(more.at(-1).epoch);
  rows.splice(0, rows.length, ...known.values());
  rows.sort((a, b) => a.epoch - b.epoch);
  draw();
}

/** Keep every second row, the best and the last. */
function thin(last) {
  const kept = [1, last, Number(panel().dataset.best)];
  step *= 2;
  for (const [epoch, row] of known) if (own(row) % step && !kept.includes(epoch)) known.delete(epoch);
}

const over = (state) => ["succeeded", "failed", "cancelled"].includes(state);
const panel = () => status.querySelector("[data-state]");

let refreshed = 0;
let later = null;
/** Ask for the status again, at most once a second. */
function refresh() {
  clearTimeout(later);
  const wait = refreshed + 1000 - Date.now();
  if (wait > 0) {
    later = setTimeout(refresh, wait);
    return;
  }
  refreshed = Date.now();
  htmx.trigger(document.body, "refresh");
}

let source = null;
/** Number of the last event whose epochs are known. */
let heard = 0;

/** Follow the job: its epochs, and the job itself whenever anything about it has changed. */
function listen() {
  source = new EventSource(`/v1/jobs/${job}/events?after=${heard}`);
  source.addEventListener("epochs", (event) => {
    heard = Number(event.lastEventId);
    take(JSON.parse(event.data).data.rows);
  });
  source.addEventListener("job", (event) => {
    refresh();
    if (!over(JSON.parse(event.data).state)) return;
    quiet();
    htmx.trigger("#result", "ended");
  });
  source.addEventListener("open", () => complain(""));
  source.addEventListener("error", () => {
    if (source) complain("The server does not answer. This page goes on when it does.");
  });
}

function quiet() {
  source?.close();
  source = null;
}

/** A hidden page listens to nothing: browsers open six connections to a server, no more. */
function attend() {
  if (document.hidden) quiet();
  else if (!source && !over(panel().dataset.state)) listen();
}

document.getElementById("result").addEventListener("htmx:afterSettle", () => rows.length && draw());
status.addEventListener("htmx:afterSettle", () => {
  announce(panel().dataset.said);
  if (rows.length) draw();
  else if (over(panel().dataset.state)) host.querySelector("p").textContent = host.dataset.none;
});
scores.show(false);
connect(document.getElementById("tools"), [loss], [loss, scores]);
document.addEventListener("visibilitychange", attend);
try {
  const { data, last_event } = await ask(`/v1/jobs/${job}/metrics?points=${POINTS}`);
  heard = last_event;
  take(data);
  attend();
} catch (error) {
  complain(error.message);
}
