// Hides the runs that do not hold every word that is typed; the search stands in the address, so that it can be sent.
const rows = [...document.querySelectorAll(".runs tbody tr")];
const box = document.querySelector(".search"), input = box.querySelector("input"), count = box.querySelector("output");
const search = () => {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !words.every((word) => row.dataset.words.includes(word));
    shown += !row.hidden;
  }
  count.textContent = words.length ? `${shown} of ${rows.length} runs` : "";
  history.replaceState(null, "", words.length ? "#" + encodeURIComponent(input.value) : location.pathname);
};
if (rows.length) {
  box.hidden = false;
  input.addEventListener("input", search);
  try {
    input.value = location.hash.startsWith("#run-") ? "" : decodeURIComponent(location.hash.slice(1));
  } catch { input.value = ""; }
  if (input.value) search();
}
document.documentElement.dataset.scripts = "ready";
