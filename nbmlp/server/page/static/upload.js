// A file goes to the server as it is, read from disk bit by bit. XMLHttpRequest rather than
// fetch: only it tells how far an upload has come.
import { announce, clear, explain, reason, Refusal, writing } from "./page.js";

const form = document.getElementById("upload");
const file = form.querySelector('[type="file"]');
const dialect = ["decimal", "separator", "encoding"].map((name) => form.elements[name]);
const bar = form.querySelector("progress");
const said = form.querySelector("output");
const stop = form.querySelector('[name="stop"]');

/** Too large, of a wrong kind, wrong in itself. */
const ABOUT_THE_FILE = [413, 415, 422];
const size = (bytes) =>
  bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

function busy(on) {
  for (const part of [bar, stop]) part.hidden = !on;
  form.querySelector('[type="submit"]').disabled = on;
}

/** Where a file goes, with what is said about how it is written. */
function address(name) {
  const told = new URLSearchParams();
  for (const field of dialect) if (field.value) told.set(field.name, field.value);
  return `/v1/datasets/${encodeURIComponent(name)}${told.size ? `?${told}` : ""}`;
}

function send(data) {
  const request = new XMLHttpRequest();
  const failed = (text, about = false) => {
    busy(false);
    said.textContent = "";
    explain(form, new Refusal(text, about ? { file: text } : {}));
    // The sentence names what would help.
    if (dialect.some(({ name }) => text.includes(`${name}=`))) form.querySelector("details").open = true;
  };
  request.open("PUT", address(data.name));
  const headers = writing({ "Content-Type": "application/octet-stream" });
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.addEventListener("progress", ({ loaded }) => {
    bar.max = data.size;
    bar.value = loaded;
    said.textContent = `${size(loaded)} of ${size(data.size)}`;
  });
  request.upload.addEventListener("load", () => {
    bar.removeAttribute("value");
    said.textContent = "Reading the table";
    announce("Uploaded. Reading the table.");
  });
  request.addEventListener("load", () => {
    const { status, responseText } = request;
    if (status >= 400) return failed(reason(responseText, status), ABOUT_THE_FILE.includes(status));
    location.assign(`/datasets/${JSON.parse(request.responseText).id}`);
  });
  request.addEventListener("error", () => failed(reason("", 0)));
  request.addEventListener("abort", () => failed("The upload was stopped."));
  stop.onclick = () => request.abort();
  clear(form);
  busy(true);
  announce(`Uploading ${data.name}`);
  request.send(data);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (file.files.length) send(file.files[0]);
});
form.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  file.files = event.dataTransfer.files;
  form.requestSubmit();
});
