// One row to /v2/models/.../infer, and its answer in words.
import { brief } from "./chart.js";
import { ask, clear, explain, Refusal, writing } from "./page.js";

/** The row as [name, kind, text]. */
function row(form) {
  const list = form.querySelector("[data-names]");
  if (!list) return [...form.querySelectorAll("[data-kind]")].map((f) => [f.name, f.dataset.kind, f.value.trim()]);
  const values = list.value.split(",").map((text) => text.trim());
  const names = JSON.parse(list.dataset.names);
  if (values.length !== names.length) {
    const text = `There are ${values.length} values: give ${names.length}, with commas between them.`;
    throw new Refusal(text, { values: text });
  }
  return names.map(([name, kind], i) => [name, kind, values[i]]);
}

function number(text, name) {
  if (text === "") return null; // missing
  const value = Number(text.replace(",", "."));
  if (Number.isNaN(value)) {
    throw new Refusal(`${name}: "${text}" is not a number.`, { [name]: `"${text}" is not a number.` });
  }
  return value;
}

/** The tensors that the model asks for: one per column, or one for the whole row. */
function tensors(inputs, values) {
  const cell = ([name, , text], datatype) => (datatype === "BYTES" ? text || null : number(text, name));
  const byName = new Map(values.map((value) => [value[0], value]));
  if (inputs.every(({ name }) => byName.has(name))) {
    return inputs.map(({ name, datatype, shape }) => ({
      name, datatype, shape: shape.map(() => 1), data: [cell(byName.get(name), datatype)],
    }));
  }
  const [{ name, datatype }] = inputs;
  return [{ name, datatype, shape: [1, values.length], data: values.map((v) => cell(v, datatype)) }];
}

function bar(label, share) {
  const line = document.createElement("div");
  const name = document.createElement("span");
  const value = document.createElement("span");
  const progress = document.createElement("progress");
  name.textContent = label;
  value.textContent = `${(100 * share).toFixed(1)} %`;
  value.className = "number";
  progress.max = 1;
  progress.value = share;
  progress.setAttribute("aria-hidden", "true");
  line.append(name, progress, value);
  return line;
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

function show(form, { outputs, parameters }) {
  const place = form.querySelector(".answer");
  const classes = JSON.parse(form.dataset.classes);
  const shares = outputs.find(({ data }) => classes.length > 1 && data.length === classes.length);
  const said = outputs.find((output) => output !== shares);
  const result = document.createElement("p");
  result.className = "result";
  result.textContent = (said?.data ?? []).map((v) => (typeof v === "number" ? brief(v) : v)).join(", ");
  place.replaceChildren(result);
  if (parameters?.unknown) {
    const note = document.createElement("p");
    note.className = "notice warn";
    note.textContent = sentence(parameters.unknown);
    place.append(note);
  }
  if (!shares) return;
  const bars = document.createElement("div");
  bars.className = "bars";
  const order = classes.map((label, i) => [label, shares.data[i]]).sort((a, b) => b[1] - a[1]);
  bars.append(...order.slice(0, 5).map(([label, share]) => bar(label, share)));
  place.append(bars);
}

async function predict(form) {
  const address = `/v2/models/${form.dataset.model}`;
  const { inputs } = await ask(address);
  const body = JSON.stringify({ inputs: tensors(inputs, row(form)) });
  const headers = writing({ "Content-Type": "application/json" });
  show(form, await ask(`${address}/infer`, { method: "POST", headers, body }));
}

// Listens on the whole page: the form comes when a job has ended.
document.addEventListener("submit", async (event) => {
  if (!event.target.matches(".predict")) return;
  event.preventDefault();
  clear(event.target);
  try {
    await predict(event.target);
  } catch (error) {
    explain(event.target, error);
  }
});
