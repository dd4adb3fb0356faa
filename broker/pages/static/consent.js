// "Tick all": without scripts each box is ticked by hand.
"use strict";
(() => {
  const all = document.getElementById("tick-all");
  if (!all) return;
  const boxes = [...document.querySelectorAll("#optional input[type=checkbox]")];
  const isDone = () => boxes.every((box) => box.checked);
  const update = () => { all.hidden = isDone(); };
  all.addEventListener("click", () => {
    for (const box of boxes) box.checked = true;
    update();
    boxes[0].focus();
  });
  for (const box of boxes) box.addEventListener("change", update);
  update();
})();
