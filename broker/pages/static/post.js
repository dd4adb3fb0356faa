"use strict";
// The form goes at once; without this script the button does it.
const form = document.getElementById("response");
if (form.dataset.back) {
  // Going back to the answer to a POST would ask her whether to send it again.
  history.replaceState(null, "", form.dataset.back);
}
form.submit();
