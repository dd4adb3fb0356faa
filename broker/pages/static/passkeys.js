// Passkeys: asks the browser for one, in the field's own list or by a button, or to make one, and posts its answer.
// The form with data-passkey says which, and what to say when it does not work. Nothing here decides anything.
"use strict";
(() => {
  const form = document.querySelector("form[data-passkey]");
  if (!form) return;
  const kind = form.dataset.passkey;
  const status = document.getElementById("status");
  // A challenge counts for five minutes; one that is nearly over is exchanged for a new one.
  const fresh = 4 * 60 * 1000;
  let asking = new AbortController();
  let leaving = false;
  let timer = 0;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
  const text = (buffer) => btoa(Array.from(new Uint8Array(buffer), (each) => String.fromCharCode(each)).join(""))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  // WebAuthn level 3 has this built in (parseRequestOptionsFromJSON, toJSON); browsers of some years ago do not.
  function options() {
    const asked = JSON.parse(form.dataset.options);
    const named = (each) => ({ ...each, id: bytes(each.id) });
    asked.challenge = bytes(asked.challenge);
    if (asked.user) asked.user.id = bytes(asked.user.id);
    if (asked.excludeCredentials) asked.excludeCredentials = asked.excludeCredentials.map(named);
    if (asked.allowCredentials) asked.allowCredentials = asked.allowCredentials.map(named);
    return asked;
  }

  function written(credential) {
    const from = credential.response;
    const response = { clientDataJSON: text(from.clientDataJSON) };
    if (from.attestationObject) {
      response.attestationObject = text(from.attestationObject);
      response.transports = from.getTransports ? from.getTransports() : [];
    } else {
      response.authenticatorData = text(from.authenticatorData);
      response.signature = text(from.signature);
      response.userHandle = from.userHandle ? text(from.userHandle) : null;
    }
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response });
  }

  function send(credential) {
    if (leaving) return;
    leaving = true;
    form.elements.credential.value = written(credential);
    // Not requestSubmit: the listener below would ask once more.
    HTMLFormElement.prototype.submit.call(form);
  }

  function say(name) {
    if (!status) return;
    status.className = "complaint";
    status.querySelector("span").textContent = form.dataset[name];
  }

  // Browsers tell "cancelled", "none here" and "too late" in one word, on purpose; only how long it took tells the last apart.
  function reason(error, took, limit) {
    if (error.name === "InvalidStateError") return "exists";
    if (error.name === "SecurityError") return "blocked";
    if (error.name === "NotSupportedError" || error.name === "ConstraintError") return "unsupported";
    return took >= limit - 1000 ? "late" : "cancelled";
  }

  async function ask() {
    if (!window.PublicKeyCredential || !navigator.credentials) return say("unsupported");
    asking.abort();
    asking = new AbortController();
    const publicKey = options();
    const since = performance.now();
    const request = { publicKey, signal: asking.signal };
    try {
      send(await (kind === "add" ? navigator.credentials.create(request) : navigator.credentials.get(request)));
    } catch (error) {
      if (error.name !== "AbortError") say(reason(error, performance.now() - since, publicKey.timeout));
    }
  }

  // Waits in the list of the field that has autocomplete="webauthn", without a word until she picks a passkey there.
  async function wait() {
    const known = window.PublicKeyCredential && PublicKeyCredential.isConditionalMediationAvailable;
    if (!known || !(await PublicKeyCredential.isConditionalMediationAvailable()) || leaving) return;
    clearTimeout(timer);
    timer = setTimeout(renew, fresh);
    try {
      send(await navigator.credentials.get({ publicKey: options(), signal: asking.signal, mediation: "conditional" }));
    } catch {
      // She took another way, or none of hers is here: the page says how else.
    }
  }

  async function renew() {
    if (leaving) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin", redirect: "error" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.querySelector("form[data-passkey=offer]");
      if (!next || leaving) return;
      asking.abort();
      asking = new AbortController();
      form.dataset.options = next.dataset.options;
      form.elements.mark.value = next.elements.mark.value;
      wait();
    } catch {
      timer = setTimeout(renew, fresh);
    }
  }

  function leave() {
    leaving = true;
    clearTimeout(timer);
    asking.abort();
  }

  for (const other of document.querySelectorAll("main form")) if (other !== form) other.addEventListener("submit", leave);
  // A page out of the back/forward cache has given up asking, and its challenge is old.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  if (kind === "offer") return void wait();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  if ("now" in form.dataset) ask();
})();
