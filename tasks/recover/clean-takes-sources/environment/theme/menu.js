// Marks the page one is on. Works without: then nothing is marked.
const here = location.pathname.split("/").pop() || "index.html";
for (const link of document.querySelectorAll("nav a")) {
  if (link.getAttribute("href") === here) link.setAttribute("aria-current", "page");
}
