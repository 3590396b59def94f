// The page of one job: its curve grows with the events that the server sends.
/* global htmx */
import { Chart, connect } from "./chart.js";
import { announce, ask, complain } from "./page.js";

const { job, score } = document.getElementById("job").dataset;
const status = document.getElementById("status");
const rows = [];
const curve = (label, key, colour, dash) => ({ label, key, colour, dash, rows });
const loss = new Chart(document.getElementById("loss"), [
  curve("Training loss", "train_loss", "--train"),
  curve("Validation loss", "val_loss", "--validation", [8, 4]),
], { sync: "job" });
const scores = new Chart(document.getElementById("score"), [
  curve(`Validation ${score}`, "val_score", "--score"),
], { sync: "job", height: 170, named: false, percent: score === "accuracy" });

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    loss.best = scores.best = Number(panel().dataset.best) || null;
    loss.draw();
    if (rows.some((row) => row.val_score != null)) {
      scores.show(true);
      scores.draw();
    }
  });
}

/** Take rows over; a resumed job tells some epochs again. */
function take(more) {
  for (const row of more) {
    while (rows.length && rows.at(-1).epoch >= row.epoch) rows.pop();
    rows.push(row);
  }
  if (more.length) draw();
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
  htmx.trigger(status, "refresh");
}

/** Epochs and states come as events; how far an epoch has come is asked for. */
function listen(after) {
  const clock = setInterval(refresh, 2000);
  const source = new EventSource(`/v1/jobs/${job}/events?after=${after}`);
  const on = (kind, act) => source.addEventListener(kind, (event) => act(JSON.parse(event.data)));
  on("epochs", ({ data }) => take(data.rows));
  for (const kind of ["epochs", "state", "checkpoint", "diagnosis"]) on(kind, refresh);
  on("state", ({ data }) => {
    if (!over(data.state)) return;
    source.close();
    clearInterval(clock);
    htmx.trigger("#result", "ended");
  });
}

status.addEventListener("htmx:afterSettle", () => {
  announce(panel().dataset.said);
  draw();
});
connect(document.getElementById("tools"), [loss], [loss, scores]);
try {
  take((await ask(`/v1/jobs/${job}/metrics`)).data);
  if (!over(panel().dataset.state)) listen(0);
} catch (error) {
  complain(error.message);
}
