// The waiting page: asks every second how it goes, shows what it hears, and leaves when there is a next step.
// Everything it needs stands in the page, so a reload at any moment goes on where it was.
"use strict";
(() => {
  const page = document.getElementById("wait");
  const status = document.getElementById("status");
  const qr = document.getElementById("qr");
  const launch = document.getElementById("launch");
  const every = Math.max(500, Number(page.dataset.everyMs) || 1000);
  const slowest = 8000;
  let wait = every;
  let timer = 0;
  let asking = false;
  let leaving = false;

  const listed = (words, word) => words.split(" ").includes(word);

  function say(text) {
    // Only when it changes: a screen reader must not hear the same words every second.
    if (status.textContent !== text) status.textContent = text;
  }

  function drawCode(src) {
    if (!src || qr.getAttribute("src") === src) return;
    const next = new Image();
    next.onload = () => { qr.src = src; qr.removeAttribute("data-empty"); };
    next.src = src;
  }

  function show(news) {
    const focused = document.activeElement;
    page.dataset.phase = news.phase;
    for (const part of page.querySelectorAll("[data-for]")) part.hidden = !listed(part.dataset.for, news.phase);
    for (const part of page.querySelectorAll("[data-action]")) part.hidden = !news.actions.includes(part.dataset.action);
    drawCode(news.qr_src);
    if (news.launch_url) launch.href = news.launch_url; else launch.removeAttribute("href");
    say(news.message);
    // A button that had the focus may be gone now; the heading says what the page has become.
    if (focused && focused !== document.body && focused.closest("[hidden]")) page.querySelector("h1").focus();
  }

  function later() {
    clearTimeout(timer);
    if (!leaving && page.dataset.phase !== "failed" && page.dataset.phase !== "choose_device") timer = setTimeout(ask, wait);
  }

  async function ask() {
    if (asking || leaving || document.hidden) return;
    asking = true;
    try {
      const answer = await fetch(page.dataset.pollUrl, {
        headers: { Accept: "application/json" }, cache: "no-store", credentials: "same-origin", redirect: "error",
      });
      // Gone, finished elsewhere or another browser's: the server shows the right page for it.
      if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) return leave(location.href);
      if (!answer.ok) throw new Error("try again");
      const news = await answer.json();
      wait = every;
      if (news.next) return leave(news.next);
      show(news);
    } catch {
      wait = Math.min(wait * 2, slowest);
      say(page.dataset.offline);
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
    if (document.hidden) return;
    wait = every;
    later();
    if (page.dataset.phase !== "failed" && page.dataset.phase !== "choose_device") ask();
  }

  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  // A page out of the back/forward cache may be old: ask the server for the present one.
  window.addEventListener("pageshow", (event) => { if (event.persisted) leave(location.href); });
  later();
})();
