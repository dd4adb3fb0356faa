"use strict";
// The form goes at once; without this script the button does it.
const form = document.getElementById("response");
if (form.dataset.back) {
  // Going back would post it again.
  history.replaceState(null, "", form.dataset.back);
}
form.submit();
