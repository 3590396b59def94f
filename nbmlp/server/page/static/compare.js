// The curves of several jobs, one over the other.
import { Chart, connect } from "./chart.js";
import { courses, leaderOf, many } from "./nets.js";
import { ask, complain } from "./page.js";

const links = [...document.querySelectorAll("[data-run]")];
const dashes = [undefined, [8, 4], [2, 3], [10, 3, 2, 3]];

async function run(link, i) {
  const { data: rows } = await ask(`/v1/jobs/${link.dataset.run}/metrics?points=2000`);
  const colour = `--run-${1 + (i % 6)}`;
  return { label: link.textContent, colour, dash: dashes[i % dashes.length], rows, leader: leaderOf(link.dataset) };
}

/** A job as it is drawn: a line, or one for each net, of which the best is named. */
function lines({ leader, ...curve }, key) {
  const { rows, colour, label, dash } = curve;
  if (!many(rows)) return [{ ...curve, key }];
  const colours = [colour, colour, colour];
  const labels = ["", "", `${label}, net ${leader}`];
  return courses(rows, key, { leader, counts: () => false, labels, colours, dash });
}

try {
  const runs = await Promise.all(links.map(run));
  const validated = runs.every(({ rows }) => rows.some((row) => row.val_loss != null));
  const panel = (id, key, percent = false) =>
    new Chart(document.getElementById(id), runs.flatMap((r) => lines(r, key)), { sync: "runs", percent });
  const loss = panel("loss", validated ? "val_loss" : "train_loss");
  document.getElementById("loss-name").textContent = validated ? "Validation loss" : "Training loss";
  const charts = [loss];
  document.getElementById("score-name").hidden = !validated;
  if (validated) charts.push(panel("score", "val_score", links.every(({ dataset }) => dataset.score === "accuracy")));
  connect(document.getElementById("tools"), [loss], charts);
  for (const chart of charts) chart.draw();
} catch (error) {
  complain(error.message);
}
