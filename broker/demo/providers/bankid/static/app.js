// Lets a picture of a code be pasted or dropped anywhere on the page; without scripts the file field still works.
(() => {
  const form = document.getElementById("scan");
  if (!form) return;
  const field = document.getElementById("qr-image");
  const drop = document.getElementById("drop");
  document.getElementById("drop-hint").textContent = "Paste it, drop it here, or choose a file.";

  const take = (transfer) => {
    const picture = [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
    if (!picture) return false;
    const files = new DataTransfer();
    files.items.add(picture);
    field.files = files.files;
    form.requestSubmit();
    return true;
  };

  document.addEventListener("paste", (event) => { if (take(event.clipboardData)) event.preventDefault(); });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer);
  });
  field.addEventListener("change", () => { if (field.files.length) form.requestSubmit(); });
})();
