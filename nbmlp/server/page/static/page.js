// What every page needs: copying, confirmation, errors, announcements.
/* global htmx */

/** Say it to screen readers, once. */
export function announce(text) {
  const place = document.getElementById("announce");
  if (place && place.textContent !== text) place.textContent = text;
}

/** What the server, or a script, refuses: a sentence, and what is wrong with each field. */
export class Refusal extends Error {
  constructor(text, fields = {}) {
    super(text);
    this.fields = fields;
  }
}

/** Show a sentence on top of the page. */
export function complain(text) {
  const place = document.getElementById("complaint");
  place.textContent = text;
  place.scrollIntoView({ block: "nearest" });
}

/** The field of a form that a path such as `model.hidden.0` is about. */
function fieldOf(form, path) {
  const within = (whole, part) => whole === part || whole.startsWith(`${part}.`);
  const named = [...form.elements].filter(({ name }) => name);
  const inner = named.filter(({ name }) => within(name, path));
  // A group with one field is meant by its name, too; with several it is not known which.
  return named.find(({ name }) => name === path) ?? named.find(({ name }) => within(path, name))
    ?? (inner.length === 1 ? inner[0] : null);
}

/** Say beside a field what is wrong with it; an empty text takes that back. */
export function mark(field, text) {
  const id = `${field.id}-error`;
  const others = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((other) => other && other !== id);
  let note = document.getElementById(id);
  if (!text) {
    note?.remove();
    field.removeAttribute("aria-invalid");
  } else {
    note ??= Object.assign(document.createElement("p"), { id, className: "error" });
    note.textContent = text;
    field.after(note);
    field.setAttribute("aria-invalid", "true");
    field.addEventListener("input", () => mark(field, ""), { once: true });
    others.unshift(id);
  }
  if (others.length) field.setAttribute("aria-describedby", others.join(" "));
  else field.removeAttribute("aria-describedby");
}

/** Take back what was said about a form. */
export function clear(form) {
  complain("");
  for (const field of form.querySelectorAll("[aria-invalid]")) mark(field, "");
}

/** Say what is wrong beside the fields that it is about, and the rest on top of the page. */
export function explain(form, error) {
  clear(form);
  const rest = [];
  let first = null;
  for (const [path, text] of Object.entries(error.fields ?? {})) {
    const field = fieldOf(form, path);
    if (field) mark(field, text);
    else rest.push(`${path}: ${text}`);
    first ??= field;
  }
  if (!first) {
    complain(error.message);
    return;
  }
  complain(rest.join("; "));
  announce(error.message);
  const folded = first.closest("details");
  if (folded) folded.open = true;
  first.focus();
}

/** The sentence in an answer that says what went wrong. */
export function reason(text, status) {
  try {
    const { error, detail } = JSON.parse(text);
    const said = error?.message ?? error ?? detail;
    if (typeof said === "string") return said;
    if (Array.isArray(said)) return said.map((part) => part.msg).join("; ");
  } catch {
    // Not JSON: a proxy's page, or nothing.
  }
  return status ? `The server answered with status ${status}.` : "The server cannot be reached.";
}

/** Headers that a write needs. */
export function writing(more = {}) {
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  return token ? { "X-CSRF-Token": token, ...more } : more;
}

/** What is wrong with each field, in an answer that tells it. */
function wrong(text) {
  try {
    return JSON.parse(text).fields ?? {};
  } catch {
    return {};
  }
}

/** Fetch JSON; throws a Refusal with the server's sentence. */
export async function ask(url, options = {}) {
  let answer, text;
  try {
    answer = await fetch(url, options);
    text = await answer.text();
  } catch {
    throw new Refusal(reason("", 0)); // the browser's own words say less
  }
  if (!answer.ok) throw new Refusal(reason(text, answer.status), wrong(text));
  return JSON.parse(text);
}

async function copy(button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
    announce("Copied");
  } catch {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (button.textContent = label), 2000);
}

/**
 * Ask before what `asker` does; resolves to whether it was confirmed.
 *
 * Each question has a dialog of its own: `close` comes later than the closing, and would answer
 * the next question in the same dialog.
 */
function confirmed(asker, question) {
  const dialog = document.getElementById("confirm").content.firstElementChild.cloneNode(true);
  dialog.asker = asker;
  dialog.ariaLabel = question;
  dialog.querySelector("p").textContent = question;
  dialog.querySelector('[value="yes"]').textContent = asker.dataset.action;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }),
  );
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (button) copy(button);
});

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.verb !== "get") Object.assign(event.detail.headers, writing());
});

document.addEventListener("htmx:confirm", async (event) => {
  const { question, elt, verb, path, issueRequest } = event.detail;
  if (!question) return;
  event.preventDefault();
  if (!(await confirmed(elt, question))) htmx.trigger(document.body, "refresh");
  // The button may have been renewed meanwhile; what was confirmed is done all the same.
  else if (elt.isConnected) issueRequest(true);
  else htmx.ajax(verb, path, { source: document.body, swap: "none" });
});

// A button stays where it is while its question is open: it gets the focus back.
document.addEventListener("htmx:beforeSwap", (event) => {
  const dialog = document.querySelector("dialog[open]");
  if (dialog && event.detail.target.contains(dialog.asker)) event.detail.shouldSwap = false;
});

document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.requestConfig.verb !== "get") complain("");
});
document.addEventListener("htmx:responseError", (event) => {
  const { xhr } = event.detail;
  if (xhr.status === 401) location.assign("/login");
  else complain(reason(xhr.responseText, xhr.status));
});
// Refused or not: what is shown may be old. What has been deleted is left for the others.
document.addEventListener("htmx:afterRequest", (event) => {
  const { elt, requestConfig, successful } = event.detail;
  if (requestConfig.verb === "get") return;
  if (successful && elt.dataset.then) location.assign(elt.dataset.then);
  else htmx.trigger(document.body, "refresh");
});
document.addEventListener("htmx:sendError", () => complain(reason("", 0)));
