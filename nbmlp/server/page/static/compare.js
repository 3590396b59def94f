// The curves of several jobs, one over the other.
import { Chart, connect } from "./chart.js";
import { ask, complain } from "./page.js";

const links = [...document.querySelectorAll("[data-run]")];
const dashes = [undefined, [8, 4], [2, 3], [10, 3, 2, 3]];

async function run(link, i) {
  return {
    label: link.textContent,
    colour: `--run-${1 + (i % 6)}`,
    dash: dashes[i % dashes.length],
    rows: (await ask(`/v1/jobs/${link.dataset.run}/metrics?points=2000`)).data,
  };
}

try {
  const runs = await Promise.all(links.map(run));
  const validated = runs.every(({ rows }) => rows.some((row) => row.val_loss != null));
  const panel = (id, key, percent = false) =>
    new Chart(document.getElementById(id), runs.map((r) => ({ ...r, key })), { sync: "runs", percent });
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
