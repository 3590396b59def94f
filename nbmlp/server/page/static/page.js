// What every page needs: copying, confirmation, errors, announcements.
/* global htmx */

/** Say it to screen readers, once. */
export function announce(text) {
  const place = document.getElementById("announce");
  if (place && place.textContent !== text) place.textContent = text;
}

/** Show a sentence on top of the page. */
export function complain(text) {
  const place = document.getElementById("complaint");
  place.textContent = text;
  place.scrollIntoView({ block: "nearest" });
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

/** Fetch JSON; throws an Error with the server's sentence. */
export async function ask(url, options = {}) {
  const answer = await fetch(url, options);
  const text = await answer.text();
  if (!answer.ok) throw new Error(reason(text, answer.status));
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
