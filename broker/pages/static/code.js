// The page for typing in a code: counts down to when another may be asked for, hears what became of the message, and leaves
// by itself when the link in the mail was followed in another tab. All of it works without this script, by pressing buttons.
"use strict";
(() => {
  const page = document.getElementById("code-page");
  const status = document.getElementById("status");
  const words = status.querySelector("span");
  const field = document.getElementById("code");
  const again = document.getElementById("again");
  const when = document.getElementById("again-when");
  const every = 3000;
  const slowest = 20000;
  let wait = every;
  let timer = 0;
  let asking = false;
  let leaving = false;
  let offline = false;
  let opensAt = Date.now() + Number(again.dataset.inS) * 1000;

  function count() {
    const left = Math.ceil((opensAt - Date.now()) / 1000);
    // Not the attribute "disabled": whoever stands on the button would lose her place.
    again.setAttribute("aria-disabled", String(left > 0));
    when.hidden = left <= 0;
    if (left > 0) when.textContent = when.dataset.soon.replace("%s", String(left));
  }

  function show(news) {
    for (const part of page.querySelectorAll("[data-action]")) part.hidden = !news.actions.includes(part.dataset.action);
    if (news.again_in_s !== null) opensAt = Date.now() + news.again_in_s * 1000;
    if (!offline && words.textContent === news.message) return;
    offline = false;
    status.className = news.is_well ? "notice" : "complaint";
    status.setAttribute("role", news.is_well ? "status" : "alert");
    words.textContent = news.message;
    if (document.activeElement.closest("[hidden]")) page.querySelector("h1").focus();
  }

  function later() {
    clearTimeout(timer);
    if (!leaving) timer = setTimeout(ask, wait);
  }

  async function ask() {
    if (asking || leaving || document.hidden) return later();
    asking = true;
    try {
      const answer = await fetch(page.dataset.pollUrl, {
        headers: { Accept: "application/json" }, cache: "no-store", credentials: "same-origin", redirect: "error",
      });
      if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) return leave(location.href);
      if (!answer.ok) throw new Error("try again");
      const news = await answer.json();
      wait = every;
      if (news.next) return leave(news.next);
      show(news);
    } catch {
      wait = Math.min(wait * 2, slowest);
      if (wait >= 4 * every && !offline) { offline = true; words.textContent = page.dataset.offline; }
    } finally {
      asking = false;
      later();
    }
  }

  function leave(url) {
    leaving = true;
    clearTimeout(timer);
    if (url === location.href) location.reload(); else location.replace(url);
  }

  function wake() {
    if (document.hidden || leaving) return;
    wait = every;
    ask();
  }

  again.addEventListener("click", (event) => { if (again.getAttribute("aria-disabled") === "true") event.preventDefault(); });
  // A code that is pasted whole, or filled in by the phone, needs no button.
  field.addEventListener("input", (event) => {
    const digits = field.value.replace(/[\s-]/g, "");
    const whole = /^[0-9]{6}$/.test(digits);
    if (whole && event.inputType !== "insertText" && !event.isComposing && !leaving) {
      leaving = true;
      field.form.requestSubmit(document.getElementById("send-code"));
    }
  });
  for (const form of document.querySelectorAll("main form")) form.addEventListener("submit", () => { leaving = true; });
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", (event) => { if (event.persisted) leave(location.href); });
  setInterval(count, 1000);
  count();
  later();
})();
