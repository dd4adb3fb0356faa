"use strict";
// The address of this page holds a secret: it goes from the address bar and from the history at once.
history.replaceState(null, "", document.getElementById("link").dataset.bare);
