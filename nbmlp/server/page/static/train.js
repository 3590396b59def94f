// The form to train: fields -> a job as JSON, shown as an example and sent.
import { ask, clear, explain, writing } from "./page.js";

const form = document.getElementById("train");
const kinds = {
  number: Number,
  text: String,
  truth: (value) => value === "true",
  list: (value) => value.split(/[\s,]+/).filter(Boolean).map(Number),
};

/** Set what a name such as `model.epochs` stands for. */
function put(body, path, value) {
  const [name, part] = path.split(".");
  if (part) (body[name] ??= {})[part] = value;
  else body[name] = value;
}

/** Put what a field says; an empty one means "none" if it says so, or is left to the server. */
function take(body, field) {
  const { kind, empty } = field.dataset;
  if (field.value.trim() || kind === "list") put(body, field.name, kinds[kind](field.value.trim()));
  else if (empty) put(body, empty, null);
}

/** Fields of one net are there for one net only, and those of an ensemble for an ensemble. */
const preset = form.elements.namedItem("preset");
function offer() {
  const kind = preset.value ? "ensemble" : "net";
  for (const place of form.querySelectorAll("[data-of]")) {
    place.hidden = place.dataset.of !== kind;
    // Else a value out of bounds that nobody sees would keep the form from being sent.
    for (const field of place.querySelectorAll("[data-kind]")) field.disabled = place.hidden;
  }
}

/** What the form says, and what it has taken over from another job without a field. */
function job() {
  const body = { dataset_id: form.dataset.dataset };
  const left = preset.value ? JSON.parse(form.dataset.oneNet) : [];
  const carried = Object.entries(JSON.parse(form.dataset.carried)).filter(([name]) => !left.includes(name));
  for (const [name, value] of carried) put(body, name, value);
  for (const field of form.querySelectorAll("[data-kind]:enabled")) take(body, field);
  const chosen = [...form.elements].filter((f) => f.dataset.column !== undefined && f.value);
  const kinds = chosen.filter((f) => f.dataset.column !== body.target).map((f) => [f.dataset.column, f.value]);
  if (kinds.length) put(body, "model.column_kinds", Object.fromEntries(kinds));
  return body;
}

/** The same key for the same job, however often the button is pressed. */
let sent = "";
let key = "";
function keyOf(body) {
  if (body !== sent) {
    sent = body;
    key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
  }
  return key;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector('[type="submit"]');
  const body = JSON.stringify(job());
  clear(form);
  button.disabled = true;
  try {
    const headers = writing({ "Content-Type": "application/json", "Idempotency-Key": keyOf(body) });
    const made = await ask("/v1/jobs", { method: "POST", headers, body });
    location.assign(`/jobs/${made.id}`);
  } catch (error) {
    explain(form, error);
    button.disabled = false;
  }
});

/** Examples follow the form: `{job}` in their template is the job as JSON, or in Python. */
function python(value, indent = "") {
  if (Array.isArray(value)) return `[${value.map((v) => python(v)).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const inner = `${indent}    `;
    const lines = Object.entries(value).map(([name, v]) => `${inner}${JSON.stringify(name)}: ${python(v, inner)},\n`);
    return `{\n${lines.join("")}${indent}}`;
  }
  if (typeof value === "boolean") return value ? "True" : "False";
  return value === null ? "None" : JSON.stringify(value);
}

/** The arguments of a call: the data set, then all else by name. */
function call({ dataset_id, ...rest }) {
  const words = Object.entries(rest).map(([name, value]) => `    ${name}=${python(value, "    ")},\n`);
  return `\n    ${python(dataset_id)},\n${words.join("")}`;
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const examples = [
  [document.getElementById("code-train-curl"), (body) => quoted(JSON.stringify(body))],
  [document.getElementById("code-train-python"), call],
].map(([place, write]) => ({ place, write, frame: place.textContent }));

function show() {
  const body = job();
  for (const { place, write, frame } of examples) {
    place.textContent = frame.replace("{job}", () => write(body));
  }
}
preset.addEventListener("input", offer);
document.addEventListener("input", show); // choices beside the columns stand outside of the form
offer();
show();
