// Keys for whoever reads many texts; the page works without. They can be switched off, and do nothing while
// somebody types.
"use strict";
const toggle = document.getElementById("keys-on");
const on = () => localStorage.getItem("keys") !== "off";
if (toggle) {
  document.getElementById("keys").hidden = false;
  toggle.checked = on();
  toggle.addEventListener("change", () => localStorage.setItem("keys", toggle.checked ? "on" : "off"));
}
document.addEventListener("keydown", (event) => {
  const form = document.getElementById("verdict");
  if (event.key === "Enter" && event.ctrlKey && form) {
    event.preventDefault();
    form.requestSubmit();
    return;
  }
  const typing = event.target.closest("textarea, input:not([type=radio], [type=checkbox])");
  if (typing || !on() || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const meant = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!meant) return;
  event.preventDefault();
  meant.focus();
  meant.click();
});
