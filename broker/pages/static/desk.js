// The page of one case: asks every two seconds how it goes, and opens itself anew when it is over.
"use strict";
(() => {
  const page = document.getElementById("case");
  if (!page) return;
  const status = document.getElementById("status");
  let timer = 0;

  async function ask() {
    try {
      const answer = await fetch(page.dataset.pollUrl, {
        headers: { Accept: "application/json" }, cache: "no-store", credentials: "same-origin", redirect: "error",
      });
      if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) return location.reload();
      if (answer.ok) {
        const news = await answer.json();
        if (news.over) return location.reload();
        // Only when it changes: a screen reader must not hear the same words every time.
        if (status.textContent !== news.message) status.textContent = news.message;
      }
    } catch {
      // The next round tries again.
    }
    timer = setTimeout(ask, 2000);
  }

  window.addEventListener("pagehide", () => clearTimeout(timer));
  timer = setTimeout(ask, 2000);
})();
