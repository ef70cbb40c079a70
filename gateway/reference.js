"use strict";
// The page is whole without this: it only fills in the address, copies commands and filters the list.
for (const code of document.querySelectorAll("pre code")) {
  code.textContent = code.textContent
    .replaceAll("http://localhost:8080", location.origin)
    .replaceAll("localhost:8080", location.host);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  if (navigator.clipboard) code.parentElement.append(button);
}
const filter = document.getElementById("filter");
filter.hidden = false;
filter.addEventListener("input", () => {
  const wanted = filter.value.toLowerCase();
  for (const item of document.querySelectorAll(".side li")) {
    item.hidden = !item.textContent.toLowerCase().includes(wanted);
  }
});
