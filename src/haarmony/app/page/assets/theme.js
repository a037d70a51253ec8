// Runs before the first paint, so that a light page does not flash dark.
try {
  document.documentElement.dataset.theme = localStorage.getItem("haarmony.theme") === "light" ? "light" : "dark";
} catch {
  // storage may be switched off; dark is the default
}
